package org.deploybias.bundle

import java.io.Closeable

/**
 * The last rows of a series, zeros at first, oldest first. Each hypothesis has one contiguous piece of
 * a buffer of twice them, which moves with each row, and at the end of the buffer back to its start.
 */
internal class Window(
    spec: TensorSpec,
) : Closeable {
    private val shape = spec.sizes()
    private val rows = shape[1].toInt()
    private val width = shape.drop(2).fold(1L, Long::times).toInt()
    private val buffers =
        Array(shape[0].toInt()) { Tensor.zeros(spec.dtype, longArrayOf(2L * rows, width.toLong())) }

    // A batch wants its hypotheses side by side; one alone is read where it lies.
    private val together = if (buffers.size > 1) Tensor.zeros(spec) else null
    private val views = arrayOfNulls<Tensor>(rows + 1)
    private var at = 0

    /** The window as an input of a graph; of one hypothesis the same object each time at a place. */
    fun view(): Tensor {
        if (together == null) {
            return views[at] ?: buffers[0].view(at * width, shape).also { views[at] = it }
        }
        for (lane in buffers.indices) {
            together.copy(buffers[lane], at * width, lane * rows * width, rows * width)
        }
        return together
    }

    /**
     * Appends [count] rows of [source]; as many of the oldest ones go. The rows of a hypothesis begin
     * at [first], those of the next one [stride] rows further.
     */
    fun extend(
        source: Tensor,
        first: Int,
        stride: Int,
        count: Int,
    ) {
        val new = minOf(count, rows)
        val full = at + new > rows
        val start = if (full) 0 else at
        for (lane in buffers.indices) {
            val buffer = buffers[lane]
            if (full) buffer.copy(buffer, at * width, 0, rows * width)
            val from = first + lane * stride + count - new
            buffer.copy(source, from * width, (start + rows) * width, new * width)
        }
        at = start + new
    }

    /** Takes over what another window of the same shape holds. */
    fun copy(other: Window) {
        for (lane in buffers.indices) {
            buffers[lane].copy(other.buffers[lane], other.at * width, 0, rows * width)
        }
        at = 0
    }

    fun clear() {
        buffers.forEach { it.fill(0.0) }
        at = 0
    }

    override fun close() {
        views.forEach { it?.close() }
        together?.close()
    }
}
