package org.deploybias.bundle

import java.nio.ByteBuffer
import java.nio.ByteOrder

/** A recording: samples in [-1, 1). */
class Recording(
    val sampleRate: Int,
    val samples: FloatArray,
)

/** Reads a WAV file of 16-bit samples in one channel, as the shipped recordings are. */
fun readWav(
    data: ByteArray,
    where: String,
): Recording {
    fun broken(why: String): Nothing =
        throw BundleError("$where: expected a WAV file of 16-bit samples in one channel, $why.")

    val bytes = ByteBuffer.wrap(data).order(ByteOrder.LITTLE_ENDIAN)
    if (data.size < 12 || String(data, 0, 4) != "RIFF" || String(data, 8, 4) != "WAVE") broken("got another file")
    var rate = 0
    var at = 12
    while (at + 8 <= data.size) {
        val name = String(data, at, 4)
        val length = minOf(bytes.getInt(at + 4).toLong() and 0xffffffffL, (data.size - at - 8).toLong()).toInt()
        at += 8
        if (name == "fmt ") {
            if (length < 16) broken("its header is cut")
            val (format, channels) = Pair(bytes.getShort(at).toInt(), bytes.getShort(at + 2).toInt())
            val bits = bytes.getShort(at + 14).toInt()
            if (format != 1 || channels != 1 || bits != 16) broken("got format $format, $channels channels, $bits bits")
            rate = bytes.getInt(at + 4)
        } else if (name == "data") {
            if (rate == 0) broken("its header is missing")
            return Recording(rate, FloatArray(length / 2) { bytes.getShort(at + 2 * it) / 32768f })
        }
        at += length + length % 2
    }
    broken("it holds no samples")
}
