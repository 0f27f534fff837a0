package org.deploybias.bundle

import java.io.Closeable

/** What the encoder takes at once: features (1, F, M), of which the first [frames] are genuine. */
class FeatureChunk(
    val features: Tensor,
) {
    var frames = 0
        internal set
}

/** Makes the chunks of one utterance after another from its decoding windows, in one thread. */
internal class FeatureStream(
    private val frontend: Graph,
    private val chunking: Chunking,
    features: TensorSpec,
) : Closeable {
    private val chunk = FeatureChunk(Tensor.zeros(features))
    private val inputs = frontend.newInputs()
    private val outputs = frontend.newOutputs()
    private val mels = features.sizes()[2].toInt()
    private val framesAtOnce =
        frontend.contract.outputs[0]
            .sizes()[1]
            .toInt()
    private val carried = Tensor.zeros(DType.FLOAT32, longArrayOf(chunking.carried.toLong(), mels.toLong()))

    // From the first sample of the next frame to the end of the last window.
    private var kept = FloatArray(0)
    private var samples = 0L
    private var frames = 0L
    private var first = true

    /** Takes a whole decoding window, or the last samples, and returns the chunk that they complete. */
    fun accept(
        window: FloatArray,
        isFinal: Boolean,
    ): FeatureChunk {
        samples += window.size
        val silence = if (isFinal) chunking.silence(samples) else 0
        var signal = kept + window + FloatArray(silence)
        if (first) signal = reflected(signal, chunking.edge, 0)
        if (isFinal) signal = reflected(signal, 0, chunking.edge)
        val total = if (isFinal) chunking.total(samples) else chunking.complete(samples)
        val new = (total - frames).toInt()
        val before = if (first) 0 else chunking.carried
        chunk.features.fill(0.0)
        if (!first) chunk.features.copy(carried)
        extract(signal, new, before)
        chunk.frames = before + new
        carried.copy(chunk.features, (chunk.frames - chunking.carried) * mels, 0, carried.size)
        kept = signal.copyOfRange(minOf(new * chunking.hopLength, signal.size), signal.size)
        frames = total
        first = false
        if (isFinal) reset()
        return chunk
    }

    fun reset() {
        kept = FloatArray(0)
        samples = 0
        frames = 0
        first = true
    }

    /** Puts the features of the first [count] frames of a signal behind row [row] of the chunk. */
    private fun extract(
        signal: FloatArray,
        count: Int,
        row: Int,
    ) {
        for (frame in 0 until count step framesAtOnce) {
            val input = inputs[0]
            val at = frame * chunking.hopLength
            for (i in 0 until input.size) {
                input.floats.put(i, if (at + i < signal.size) signal[at + i] else 0f)
            }
            frontend.run(inputs, outputs)
            val taken = minOf(framesAtOnce, count - frame)
            chunk.features.copy(outputs[0], 0, (row + frame) * mels, taken * mels)
        }
    }

    override fun close() {
        (inputs + outputs).forEach(Tensor::close)
        chunk.features.close()
    }
}

/** The signal with its edges mirrored, the outermost samples not repeated, as often as it takes. */
internal fun reflected(
    signal: FloatArray,
    before: Int,
    after: Int,
): FloatArray {
    val last = signal.size - 1
    return FloatArray(before + signal.size + after) { i ->
        val at = if (last == 0) 0 else Math.floorMod(i - before, 2 * last)
        signal[if (at <= last) at else 2 * last - at]
    }
}
