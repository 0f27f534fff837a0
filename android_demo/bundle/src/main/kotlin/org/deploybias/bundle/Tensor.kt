package org.deploybias.bundle

import java.io.Closeable
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.FloatBuffer
import java.nio.LongBuffer

/**
 * Numbers in memory that a runtime reads and writes without a copy: a direct buffer, row by row.
 *
 * [handle] is what a runtime made of it, once, so that the next call makes nothing.
 */
class Tensor private constructor(
    val dtype: DType,
    val shape: LongArray,
    private val bytes: ByteBuffer,
) : Closeable {
    val size: Int = count(shape)
    var handle: AutoCloseable? = null

    val floats: FloatBuffer = if (dtype == DType.FLOAT32) bytes.asFloatBuffer() else FloatBuffer.allocate(0)
    val longs: LongBuffer = if (dtype == DType.INT64) bytes.asLongBuffer() else LongBuffer.allocate(0)

    // A bulk copy moves these, so that a step makes no buffers.
    private val source = bytes.duplicate()
    private val target = bytes.duplicate()

    /** A piece of this memory, from an element on. */
    fun view(
        first: Int,
        shape: LongArray,
    ): Tensor {
        val piece = bytes.duplicate()
        piece.position(first * dtype.bytes)
        piece.limit((first + count(shape)) * dtype.bytes)
        return Tensor(dtype, shape, piece.slice().order(ByteOrder.nativeOrder()))
    }

    /** Copies [length] elements of [other], from its element [from] on, to the element [to] of this, of the same dtype. */
    fun copy(
        other: Tensor,
        from: Int = 0,
        to: Int = 0,
        length: Int = other.size,
    ) {
        target.limit((to + length) * dtype.bytes)
        target.position(to * dtype.bytes)
        other.source.limit((from + length) * dtype.bytes)
        other.source.position(from * dtype.bytes)
        target.put(other.source)
    }

    fun fill(value: Double) {
        for (i in 0 until size) {
            if (dtype == DType.INT64) longs.put(i, value.toLong()) else floats.put(i, value.toFloat())
        }
    }

    fun toFloatArray(): FloatArray = FloatArray(size) { floats.get(it) }

    /** Frees what a runtime made of it. */
    override fun close() {
        handle?.close()
        handle = null
    }

    companion object {
        fun zeros(
            dtype: DType,
            shape: LongArray,
        ): Tensor {
            val bytes = ByteBuffer.allocateDirect(count(shape) * dtype.bytes)
            return Tensor(dtype, shape, bytes.order(ByteOrder.nativeOrder()))
        }

        fun zeros(spec: TensorSpec): Tensor = zeros(spec.dtype, spec.sizes())

        fun of(values: FloatArray): Tensor {
            val tensor = zeros(DType.FLOAT32, longArrayOf(values.size.toLong()))
            for (i in values.indices) tensor.floats.put(i, values[i])
            return tensor
        }

        private fun count(shape: LongArray): Int = shape.fold(1L) { product, size -> product * size }.toInt()
    }
}
