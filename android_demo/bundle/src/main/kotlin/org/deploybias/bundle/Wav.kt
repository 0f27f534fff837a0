package org.deploybias.bundle

import java.math.BigDecimal
import java.math.RoundingMode
import java.nio.ByteBuffer
import java.nio.ByteOrder

/** A recording: samples in [-1, 1), and what it lacks of what its header states, as Python tells it. */
class Recording(
    val sampleRate: Int,
    val samples: FloatArray,
    val warnings: List<String> = emptyList(),
)

/** Bytes: what writes a wav to a pipe states about 2 or 4 GiB, or none. */
private const val UNKNOWN_SIZE = 0x7fff0000L

/** Seconds that a file may lack of what its header states. */
private const val TOLERANCE = 0.25

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
        val stated = bytes.getInt(at + 4).toLong() and 0xffffffffL
        at += 8
        val length = minOf(stated, (data.size - at).toLong()).toInt()
        if (name == "fmt ") {
            if (length < 16) broken("its header is cut")
            val (format, channels) = Pair(bytes.getShort(at).toInt(), bytes.getShort(at + 2).toInt())
            val bits = bytes.getShort(at + 14).toInt()
            if (format != 1 || channels != 1 || bits != 16) broken("got format $format, $channels channels, $bits bits")
            rate = bytes.getInt(at + 4)
        } else if (name == "data") {
            if (rate == 0) broken("its header is missing")
            // A recorder that was killed never wrote the size: all that follows are samples.
            val isKnown = stated in 1 until UNKNOWN_SIZE
            val count = (if (isKnown) length else data.size - at) / 2
            val samples = FloatArray(count) { bytes.getShort(at + 2 * it) / 32768f }
            return Recording(rate, samples, if (isKnown) lacking(stated / 2, count, rate) else emptyList())
        }
        at += length + length % 2
    }
    broken("it holds no samples")
}

private fun lacking(
    stated: Long,
    read: Int,
    rate: Int,
): List<String> {
    val missing = (stated - read).toDouble() / rate
    if (missing <= TOLERANCE) return emptyList()
    val (rest, heard) = Pair(tenths(missing), tenths(read.toDouble() / rate))
    return listOf("$rest s beside the $heard s that were read are missing: the file is cut or damaged.")
}

private fun tenths(seconds: Double) = BigDecimal(seconds).setScale(1, RoundingMode.HALF_EVEN).toPlainString()
