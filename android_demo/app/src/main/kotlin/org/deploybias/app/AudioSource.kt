package org.deploybias.app

import android.annotation.SuppressLint
import android.media.AudioFormat
import android.media.AudioRecord
import android.media.MediaRecorder
import org.deploybias.bundle.BackendError
import org.deploybias.bundle.Recording
import java.io.Closeable

/** Where samples come from, in [-1, 1). */
interface AudioSource : Closeable {
    /** Fills [samples] as far as there are any; returns how many came, -1 at the end. */
    fun read(samples: FloatArray): Int
}

/** The microphone, at the model's own rate: the device resamples. The permission must be there. */
class Microphone(
    sampleRate: Int,
) : AudioSource {
    private val record = open(sampleRate)
    private var buffer = ShortArray(0)

    override fun read(samples: FloatArray): Int {
        if (buffer.size != samples.size) buffer = ShortArray(samples.size)
        val count = record.read(buffer, 0, buffer.size)
        if (count <= 0) throw BackendError("the microphone gave nothing ($count); another app may have taken it.")
        for (i in 0 until count) samples[i] = buffer[i] / 32768f
        return count
    }

    override fun close() {
        try {
            record.stop()
        } finally {
            record.release()
        }
    }

    private companion object {
        const val FORMAT = AudioFormat.ENCODING_PCM_16BIT
        const val CHANNEL = AudioFormat.CHANNEL_IN_MONO

        @SuppressLint("MissingPermission") // asked for before
        fun open(sampleRate: Int): AudioRecord {
            val least = AudioRecord.getMinBufferSize(sampleRate, CHANNEL, FORMAT)
            if (least <= 0) throw BackendError("the microphone does not record at $sampleRate Hz, the model's rate.")
            // A second: decoding a window may take longer than the 100 ms between two reads.
            val size = maxOf(least, 2 * sampleRate)
            val record = AudioRecord(MediaRecorder.AudioSource.VOICE_RECOGNITION, sampleRate, CHANNEL, FORMAT, size)
            try {
                record.startRecording()
                check(record.recordingState == AudioRecord.RECORDSTATE_RECORDING) { "it does not record" }
            } catch (error: IllegalStateException) {
                record.release()
                throw BackendError("the microphone cannot be opened; another app may have taken it.", error)
            }
            return record
        }
    }
}

/** A recording in place of the microphone, as fast as it was spoken. */
class Playback(
    private val recording: Recording,
) : AudioSource {
    private val begin = System.nanoTime()
    private var at = 0

    override fun read(samples: FloatArray): Int {
        val count = minOf(samples.size, recording.samples.size - at)
        if (count <= 0) return -1
        recording.samples.copyInto(samples, 0, at, at + count)
        at += count
        val due = begin + at * 1_000_000_000L / recording.sampleRate
        Thread.sleep(maxOf(0L, (due - System.nanoTime()) / 1_000_000))
        return count
    }

    override fun close() = Unit
}
