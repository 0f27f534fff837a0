package org.deploybias.bundle

import kotlinx.serialization.SerializationException
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.jsonArray
import kotlinx.serialization.json.jsonObject
import kotlinx.serialization.json.jsonPrimitive
import kotlinx.serialization.json.long
import java.nio.ByteBuffer
import java.nio.ByteOrder

private val DTYPES = mapOf("F32" to DType.FLOAT32, "I64" to DType.INT64)

/** Reads the tensors of a safetensors file: the length of a JSON header, the header, the numbers. */
internal fun readSafetensors(
    data: ByteArray,
    where: String,
): Map<String, Tensor> {
    fun broken(why: String): Nothing = throw BundleError("$where: not safetensors ($why).")

    if (data.size < 8) broken("${data.size} bytes")
    val bytes = ByteBuffer.wrap(data).order(ByteOrder.LITTLE_ENDIAN)
    val length = bytes.getLong(0)
    if (length < 2 || length > data.size - 8) broken("a header of $length bytes")
    val start = 8 + length.toInt()
    return try {
        val header = Json.parseToJsonElement(String(data, 8, length.toInt(), Charsets.UTF_8)).jsonObject
        (header - "__metadata__").mapValues { (name, entry) ->
            val said =
                entry.jsonObject
                    .getValue("dtype")
                    .jsonPrimitive.content
            val dtype = DTYPES[said] ?: broken("$name has dtype $said")
            val shape =
                entry.jsonObject
                    .getValue("shape")
                    .jsonArray
                    .map { it.jsonPrimitive.long }
            val (from, to) =
                entry.jsonObject
                    .getValue("data_offsets")
                    .jsonArray
                    .map { it.jsonPrimitive.long }
            val tensor = Tensor.zeros(dtype, shape.toLongArray())
            if (from < 0 || to - from != tensor.size.toLong() * dtype.bytes || to > data.size - start) {
                broken("$name lies at $from to $to")
            }
            val piece = ByteBuffer.wrap(data, start + from.toInt(), (to - from).toInt()).order(ByteOrder.LITTLE_ENDIAN)
            if (dtype ==
                DType.FLOAT32
            ) {
                tensor.floats.put(piece.asFloatBuffer())
            } else {
                tensor.longs.put(piece.asLongBuffer())
            }
            tensor
        }
    } catch (error: SerializationException) {
        broken(
            error.message
                .orEmpty()
                .lineSequence()
                .first(),
        )
    } catch (error: IllegalArgumentException) {
        broken(
            error.message
                .orEmpty()
                .lineSequence()
                .first(),
        )
    } catch (error: NoSuchElementException) {
        broken(error.message.orEmpty())
    }
}
