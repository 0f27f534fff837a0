package org.deploybias.bundle

import java.io.Closeable
import kotlin.math.abs
import kotlin.math.exp
import kotlin.math.ln

/** The joint network of a bundle, for one stream in one thread. */
class Joint(
    private val graph: Graph,
) : Closeable {
    init {
        val contract = graph.contract
        if (contract.kind != "joint") {
            throw ContractError("graph '${contract.name}' is no joint network; take graphs[\"joint\"] of Graphs.load.")
        }
        if (contract.inputs[0].sizes()[0] != 1L) {
            throw ContractError("the joint network takes several hypotheses a call; export with --batch 1.")
        }
    }

    val encoderSize: Int =
        graph.contract.inputs[0]
            .sizes()[1]
            .toInt()
    internal val weightsSha256 = graph.weightsSha256
    private val frame = Tensor.zeros(graph.contract.inputs[0])
    private val inputs = arrayOf(frame, frame)
    private val outputs = graph.newOutputs()
    private val logits = outputs[0]

    /** The label that was most likely in the last call, and its natural log-probability. */
    var label = 0
        private set
    var logProb = 0.0
        private set

    /** Finds the most likely label for row [row] of encoder frames (n, E). */
    fun best(
        encoderOut: Tensor,
        row: Int,
        decoderOut: Tensor,
    ) {
        frame.copy(encoderOut, row * encoderSize, 0, encoderSize)
        inputs[1] = decoderOut
        graph.run(inputs, outputs)
        var best = 0
        for (i in 0 until logits.size) {
            val logit = logits.floats.get(i)
            if (!(abs(logit) <= Float.MAX_VALUE)) throw notFinite()
            if (logit > logits.floats.get(best)) best = i
        }
        val largest = logits.floats.get(best).toDouble()
        var sum = 0.0
        for (i in 0 until logits.size) sum += exp(logits.floats.get(i) - largest)
        label = best
        logProb = -ln(sum)
    }

    /** Checks that rows of encoder frames are finite. */
    fun check(
        encoderOut: Tensor,
        rows: Int,
    ) {
        for (i in 0 until rows * encoderSize) {
            if (!(abs(encoderOut.floats.get(i)) <= Float.MAX_VALUE)) {
                throw ContractError(
                    "encoder frame ${i / encoderSize} of $rows holds NaN or infinity; look for them in its " +
                        "audio or features.",
                )
            }
        }
    }

    private fun notFinite(): ContractError {
        val largest = (0 until encoderSize).maxOf { abs(frame.floats.get(it)) }
        return ContractError(
            "the joint network makes NaN or infinity of an encoder frame; its largest value is " +
                "$largest: look for what is wrong in its audio or features.",
        )
    }

    override fun close() {
        frame.close()
        outputs.forEach(Tensor::close)
    }
}
