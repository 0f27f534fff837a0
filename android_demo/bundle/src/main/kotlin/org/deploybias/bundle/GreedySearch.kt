package org.deploybias.bundle

import java.io.Closeable

/**
 * What a search found: labels without blanks, the encoder frame that each came at, the score, and of each label
 * its natural log-probability among all and blank at its frame.
 */
class SearchResult(
    val labels: List<Int>,
    val frames: List<Int>,
    val score: Double,
    val logProbs: List<Double>,
)

/** The best label at each step, one hypothesis, over the encoder frames of one utterance. */
class GreedySearch(
    decoder: Decoder,
    private val joint: Joint,
) : Closeable {
    init {
        if (joint.weightsSha256 != decoder.graph.weightsSha256) {
            throw ContractError(
                "the decoder and the joint network are of two models; take both from one bundle.",
            )
        }
    }

    private val hypothesis = decoder.start()
    private val labels = ArrayList<Int>()
    private val frames = ArrayList<Int>()
    private val logProbs = ArrayList<Double>()
    private var score = 0.0
    private var frame = 0

    init {
        reset()
    }

    /** Searches on in the first [rows] rows of encoder frames (n, E). */
    fun accept(
        encoderOut: Tensor,
        rows: Int,
    ) {
        joint.check(encoderOut, rows)
        for (row in 0 until rows) {
            for (number in 0 until MOST_LABELS) {
                joint.best(encoderOut, row, hypothesis.decoderOut)
                score += joint.logProb
                if (joint.label == BLANK) break
                labels += joint.label
                frames += frame
                logProbs += joint.logProb
                hypothesis.step(joint.label)
            }
            frame++
        }
    }

    fun result() = SearchResult(labels.toList(), frames.toList(), score, logProbs.toList())

    /** Forgets everything: the next frame is the first one of an utterance. */
    fun reset() {
        labels.clear()
        frames.clear()
        logProbs.clear()
        score = 0.0
        frame = 0
        hypothesis.reset()
        hypothesis.step(BLANK)
    }

    override fun close() = hypothesis.close()

    private companion object {
        const val BLANK = 0

        /** Labels at one frame at most: a bad model may never say blank. */
        const val MOST_LABELS = 10
    }
}
