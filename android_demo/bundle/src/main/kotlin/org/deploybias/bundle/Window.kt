package org.deploybias.bundle

import java.io.Closeable

/**
 * The last rows of a series for each hypothesis, zeros at first, oldest first: a piece of a buffer of
 * twice them, which moves by one with each row, and at the end of the buffer back to its start.
 *
 * @param like has its shape: a hypothesis along axis 0, rows along axis 1.
 */
internal class Window(
    like: Tensor,
) : Closeable {
    private val shape = like.shape
    private val batch = shape[0].toInt()
    private val rows = shape[1].toInt()
    private val width = like.size / (batch * rows)
    private val buffer = Tensor.zeros(like.dtype, longArrayOf(batch.toLong(), 2L * rows, width.toLong()))

    private val views = arrayOfNulls<Tensor>(rows + 1)

    // The hypotheses of a batch lie apart in the buffer; a graph wants them side by side.
    private val sideBySide = if (batch > 1) Tensor.zeros(like.dtype, shape) else null
    private var at = 0

    /** The window as an input of a graph; the same object each time that it lies at the same place. */
    fun view(): Tensor {
        if (sideBySide == null) return views[at] ?: buffer.view(at * width, shape).also { views[at] = it }
        for (lane in 0 until batch) {
            sideBySide.copy(buffer, place(lane, at), lane * rows * width, rows * width)
        }
        return sideBySide
    }

    /**
     * Appends rows of an output; as many of the oldest ones go.
     *
     * @param row they are in `output[row]`, or in the output itself.
     * @param genuine how many of axis 1; without it, the output is one row (B, ...).
     */
    fun extend(
        output: Tensor,
        row: Int?,
        genuine: Int?,
    ) {
        val first = row ?: 0
        val given = output.size / (if (row == null) 1 else output.shape[0].toInt()) / (batch * width)
        val count = genuine ?: 1
        val new = minOf(count, rows)
        if (at + new > rows) {
            for (lane in 0 until batch) buffer.copy(buffer, place(lane, at), place(lane, 0), rows * width)
            at = 0
        }
        for (lane in 0 until batch) {
            val source = ((first * batch + lane) * given + count - new) * width
            buffer.copy(output, source, place(lane, at + rows), new * width)
        }
        at += new
    }

    /** Takes over what another window of the same shape holds. */
    fun copy(other: Window) {
        for (lane in 0 until batch) buffer.copy(other.buffer, place(lane, other.at), place(lane, 0), rows * width)
        at = 0
    }

    fun clear() {
        buffer.fill(0.0)
        at = 0
    }

    private fun place(
        lane: Int,
        row: Int,
    ): Int = (lane * 2 * rows + row) * width

    override fun close() {
        views.forEach { it?.close() }
        sideBySide?.close()
    }
}
