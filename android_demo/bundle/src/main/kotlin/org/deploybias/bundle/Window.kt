package org.deploybias.bundle

import java.io.Closeable

/** The rows of a window that are valid: the host's half of the decoder's step. */
internal fun firstValid(start: String): Int =
    when (start) {
        "espnet" -> 1
        "clean" -> 0
        else -> throw OptionError("start must be one of espnet, clean, got '$start'.")
    }

/** How many rows are valid for the next label, once the new row is appended. */
internal fun nextValid(
    valid: Int,
    context: Int,
    chunkSize: Int,
    start: String,
): Int = if (valid + 1 == chunkSize) firstValid(start) else minOf(valid + 1, context)

/**
 * The last rows of a series, zeros at first, oldest first: one contiguous piece of a buffer of twice
 * them, which moves by one with each row, and at the end of the buffer back to its start.
 */
internal class Window(
    spec: TensorSpec,
) : Closeable {
    private val shape = spec.sizes()
    private val rows = shape[1].toInt()
    private val width = shape[2].toInt()
    private val buffer = Tensor.zeros(spec.dtype, longArrayOf(2L * rows, width.toLong()))

    private val views = arrayOfNulls<Tensor>(rows + 1)
    private var at = 0

    init {
        require(shape[0] == 1L) { "a batch of ${shape[0]}" }
    }

    /** The window as an input of a graph; the same object each time that it lies at the same place. */
    fun view(): Tensor = views[at] ?: buffer.view(at * width, shape).also { views[at] = it }

    /** Appends [count] rows of [source], from its row [first] on; as many of the oldest ones go. */
    fun extend(
        source: Tensor,
        first: Int,
        count: Int,
    ) {
        val new = minOf(count, rows)
        if (at + new > rows) {
            buffer.copy(buffer, at * width, 0, rows * width)
            at = 0
        }
        buffer.copy(source, (first + count - new) * width, (at + rows) * width, new * width)
        at += new
    }

    /** Takes over what another window of the same shape holds. */
    fun copy(other: Window) {
        buffer.copy(other.buffer, other.at * width, 0, rows * width)
        at = 0
    }

    fun clear() {
        buffer.fill(0)
        at = 0
    }

    override fun close() = views.forEach { it?.close() }
}
