package org.deploybias.bundle

import java.io.Closeable
import kotlin.math.abs
import kotlin.math.roundToInt

/** Where an utterance ends in audio that goes on: when any of these holds. All in seconds. */
class EndpointRules(
    val rule1MinTrailingSilence: Double = 2.4,
    val rule2MinTrailingSilence: Double = 1.2,
    val rule3MinUtteranceLength: Double = 20.0,
) {
    fun isEndpoint(
        length: Double,
        trailingSilence: Double,
    ): Boolean =
        trailingSilence >= rule1MinTrailingSilence ||
            (trailingSilence >= rule2MinTrailingSilence && trailingSilence < length) ||
            length >= rule3MinUtteranceLength
}

/**
 * A word of an utterance: from its first token to a frame behind its last one, or to the next word, in seconds;
 * [confidence] is the mean natural log-probability of its tokens.
 */
class Word(
    val text: String,
    val start: Double,
    val end: Double,
    val confidence: Double,
)

/**
 * What was recognised of an utterance so far; times in seconds, from [startTime]. [logProbs] are of each token
 * among all tokens and blank at its frame, [confidence] is their mean.
 */
class Recognition(
    val text: String,
    val tokens: List<String>,
    val timestamps: List<Double>,
    val labels: List<Int>,
    val logProbs: List<Double>,
    val words: List<Word>,
    val confidence: Double,
    val startTime: Double,
    val score: Double,
    val isFinal: Boolean,
)

/**
 * Seconds of silence before the first sample, if nothing is said: ESPnet's streaming never decodes the first
 * encoder frame, so a word that begins at once can be lost.
 */
const val LEAD_IN = 0.3

/** Speech in, text out, with the names of sherpa-onnx's OnlineRecognizer and greedy search. */
class Recognizer(
    bundle: Bundle,
    backend: Backend,
    precision: String = "fp32",
    private val endpointRules: EndpointRules = EndpointRules(),
    leadIn: Double = LEAD_IN,
) : Closeable {
    internal val graphs = Graphs.load(bundle, backend, precision)
    private val tokens: Tokens
    internal val chunking: Chunking
    internal val leadInSamples: Int
    private val frameSeconds: Double

    /** Of the model, Hz. Audio must come at this rate. */
    val sampleRate: Int

    init {
        try {
            if (!(leadIn >= 0 && leadIn < 60)) throw OptionError("lead_in must be 0 to 60 seconds, got $leadIn.")
            val missing = listOf("frontend", "encoder", "decoder", "joint").filterNot { it in graphs }
            if (missing.isNotEmpty()) {
                throw BundleError(
                    "${bundle.folder}: has no graph ${missing.joinToString(" and no graph ")}, so no speech can " +
                        "be recognised in a stream; export an experiment whose config.yaml has the frontend and " +
                        "the encoder, without --offline.",
                )
            }
            tokens = Tokens(bundle)
            val settings = graphs["frontend"].contract.settings(FrontendSettings.serializer())
            chunking =
                Chunking(
                    settings.nFft,
                    settings.hopLength,
                    settings.decodingWindow,
                    settings.subsamplingFactor,
                )
            sampleRate = settings.fs
            leadInSamples = (leadIn * sampleRate).roundToInt()
            val stride = graphs["encoder"].contract.settings(EncoderSettings.serializer()).stride
            frameSeconds = stride * chunking.hopLength.toDouble() / sampleRate
        } catch (error: Exception) {
            graphs.close()
            throw error
        }
    }

    fun createStream(): RecognizerStream = RecognizerStream(this)

    /** Whether there is a whole decoding window, or the end of the input, to decode. */
    fun isReady(stream: RecognizerStream): Boolean {
        stream.check(this)
        return stream.hasWindow
    }

    /** Decodes one window. */
    fun decodeStream(stream: RecognizerStream) {
        if (!isReady(stream)) {
            throw ContractError("the stream has no whole window to decode; ask isReady before.")
        }
        stream.decode()
    }

    fun getResult(stream: RecognizerStream): Recognition {
        stream.check(this)
        val result = stream.search.result()
        val start = stream.startTime
        val times = result.frames.map { maxOf(0.0, stream.times.getValue(it) - start) }
        return Recognition(
            tokens.text(result.labels),
            result.labels.map { tokens[it] },
            times,
            result.labels,
            result.logProbs,
            words(result, times),
            mean(result.logProbs),
            start,
            result.score,
            stream.isFinal,
        )
    }

    private fun words(
        result: SearchResult,
        times: List<Double>,
    ): List<Word> {
        val words = tokens.words(result.labels)
        return words.mapIndexed { number, word ->
            val limit = words.getOrNull(number + 1)?.let { times[it.first] } ?: Double.POSITIVE_INFINITY
            Word(
                tokens.text(result.labels.slice(word)),
                times[word.first],
                minOf(times[word.last] + frameSeconds, limit),
                mean(result.logProbs.slice(word)),
            )
        }
    }

    private fun mean(values: List<Double>) = if (values.isEmpty()) 0.0 else values.sum() / values.size

    /** Whether the utterance has ended, by the endpoint rules. */
    fun isEndpoint(stream: RecognizerStream): Boolean {
        stream.check(this)
        val last =
            stream.search
                .result()
                .frames
                .lastOrNull()
        val behind = if (last == null) stream.frames else stream.frames - 1 - last
        return endpointRules.isEndpoint(stream.frames * frameSeconds, behind * frameSeconds)
    }

    /** Begins a new utterance in the audio that goes on. */
    fun reset(stream: RecognizerStream) {
        stream.check(this)
        stream.beginUtterance()
    }

    override fun close() = graphs.close()
}

/** Audio on its way to text. One thread may give it audio while another decodes. */
class RecognizerStream internal constructor(
    private val recognizer: Recognizer,
) : Closeable {
    private class Piece(
        val samples: FloatArray,
        val isFinal: Boolean,
    )

    private val chunking = recognizer.chunking
    private val pieces = ArrayDeque<Piece>()
    private val window = FloatArray(chunking.decodingWindow)
    private var filled = 0
    private var finished = false
    private var closed = false
    private val encoder = EncoderStream(recognizer.graphs["encoder"])
    private val features =
        FeatureStream(
            recognizer.graphs["frontend"],
            chunking,
            recognizer.graphs["encoder"].contract.statelessInputs[0],
        )
    private val joint = Joint(recognizer.graphs["joint"])
    private var featureFrames = 0L

    internal val search = GreedySearch(Decoder(recognizer.graphs["decoder"]), joint)
    private var lastTime = 0.0

    /** Of the encoder frames that a label came at: silence is not remembered. */
    internal val times = HashMap<Int, Double>()
    internal var frames = 0
        private set
    internal var startTime = 0.0
        private set
    internal var isFinal = false
        private set

    /** The decoding windows that wait to be decoded. */
    val waiting: Int get() = synchronized(pieces) { pieces.size }

    internal val hasWindow: Boolean get() = synchronized(pieces) { pieces.isNotEmpty() }

    init {
        cut(FloatArray(recognizer.leadInSamples), recognizer.leadInSamples)
    }

    /** Takes the next [count] samples, in [-1, 1), at the model's rate. */
    fun acceptWaveform(
        sampleRate: Int,
        samples: FloatArray,
        count: Int = samples.size,
    ) {
        checkOpen()
        if (sampleRate != recognizer.sampleRate) {
            throw ContractError(
                "audio at $sampleRate Hz, expected ${recognizer.sampleRate} Hz, the model's; record at that rate.",
            )
        }
        for (i in 0 until count) {
            if (!(abs(samples[i]) <= LOUDEST)) {
                throw ContractError(
                    "sample $i of $count is ${samples[i]}; expected finite samples in [-1, 1); divide 16-bit " +
                        "samples by 32768.",
                )
            }
        }
        synchronized(pieces) {
            if (finished) throw ContractError("the input of the stream is finished; create another stream.")
            cut(samples, count)
        }
    }

    /** Ends the input; what is left of it can be decoded then. */
    fun inputFinished() {
        checkOpen()
        synchronized(pieces) {
            if (finished) throw ContractError("the input of the stream is finished; create another stream.")
            finished = true
            pieces.addLast(Piece(window.copyOf(filled), true))
        }
    }

    internal fun decode() {
        val piece = synchronized(pieces) { pieces.removeFirst() }
        val chunk = features.accept(piece.samples, piece.isFinal)
        val count = encoder.accept(chunk)
        val new = timesOf(chunk.frames, count)
        search.accept(encoder.encoderOut, count)
        for (frame in search.result().frames.takeLastWhile { it >= frames }) times[frame] = new[frame - frames]
        frames += count
        lastTime = new.lastOrNull() ?: lastTime
        isFinal = piece.isFinal
    }

    internal fun beginUtterance() {
        search.reset()
        startTime = lastTime
        frames = 0
        times.clear()
    }

    internal fun check(recognizer: Recognizer) {
        checkOpen()
        if (recognizer !== this.recognizer) {
            throw ContractError("the stream is of another recognizer; use the one that created it.")
        }
    }

    override fun close() {
        closed = true
        search.close()
        joint.close()
        encoder.close()
        features.close()
    }

    private fun checkOpen() {
        if (closed) throw ContractError("the stream is closed; create another one.")
    }

    private fun cut(
        samples: FloatArray,
        count: Int,
    ) {
        var taken = 0
        while (taken < count) {
            val length = minOf(window.size - filled, count - taken)
            samples.copyInto(window, filled, taken, taken + length)
            filled += length
            taken += length
            if (filled == window.size) {
                pieces.addLast(Piece(window.copyOf(), false))
                filled = 0
            }
        }
    }

    /** Returns when the encoder frames of a chunk are. */
    private fun timesOf(
        featureFrames: Int,
        encoderFrames: Int,
    ): List<Double> {
        val first = maxOf(0L, this.featureFrames - chunking.carried)
        this.featureFrames = first + featureFrames
        // The first embedded frame of a chunk is dropped. One sees stride + offset feature frames.
        val middle = first + (encoder.settings.stride + encoder.settings.offset - 1) / 2.0
        return (1..encoderFrames).map { frame ->
            val sample = (middle + frame * encoder.settings.stride) * chunking.hopLength
            (sample - recognizer.leadInSamples) / recognizer.sampleRate
        }
    }

    private companion object {
        /** Samples beyond this are no clipped audio but another scale. */
        const val LOUDEST = 32f
    }
}
