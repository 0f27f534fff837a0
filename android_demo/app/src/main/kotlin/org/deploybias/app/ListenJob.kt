package org.deploybias.app

import org.deploybias.bundle.Backend
import org.deploybias.bundle.BackendError
import org.deploybias.bundle.BundleError
import org.deploybias.bundle.Recognizer
import org.deploybias.bundle.RecognizerStream
import kotlin.concurrent.thread
import kotlin.math.abs

/** Recognises the microphone, or a recording in its place, until it is stopped or the recording ends. */
class ListenJob(
    private val assets: Assets,
) : Job<ListenJob.State>(State()) {
    /**
     * @property stage what is done before it listens.
     * @property lines the utterances that are over.
     * @property partial the one that is being spoken.
     * @property level of the last 100 ms, 0 to 1.
     * @property realTimeFactor seconds of computation for a second of audio.
     */
    data class State(
        val stage: String? = null,
        val lines: List<String> = emptyList(),
        val partial: String = "",
        val level: Float = 0f,
        val realTimeFactor: Double? = null,
        val problem: String? = null,
    )

    /** Starts; [recording] is the name of one, null the microphone. */
    fun start(
        backend: Backend,
        recording: String?,
    ) {
        // What was heard stays when something goes wrong.
        var last = State(stage = "Loading the bundle")
        begin(last, { last.copy(stage = null, level = 0f, problem = said(it)) }) {
            Recognizer(assets.bundle(), backend).use { recognizer ->
                if (goesOn) {
                    recognizer.createStream().use { stream ->
                        source(recording, recognizer.sampleRate).use { source ->
                            Feeder(recognizer, stream, source).use { feeder ->
                                listen(recognizer, stream, feeder) { last = it }
                            }
                        }
                    }
                }
            }
            last.copy(stage = null)
        }
    }

    private fun source(
        name: String?,
        sampleRate: Int,
    ): AudioSource {
        val recording = assets.recording(name ?: return Microphone(sampleRate))
        if (recording.sampleRate != sampleRate) {
            throw BundleError("$name: ${recording.sampleRate} Hz, expected $sampleRate Hz, the model's rate.")
        }
        return Playback(recording)
    }

    private fun listen(
        recognizer: Recognizer,
        stream: RecognizerStream,
        feeder: Feeder,
        keep: (State) -> Unit,
    ) {
        var state = State()
        var computed = 0L

        fun decode() {
            val begin = System.nanoTime()
            while (recognizer.isReady(stream)) {
                recognizer.decodeStream(stream)
                val text = recognizer.getResult(stream).text
                state = state.copy(partial = text)
                if (recognizer.isEndpoint(stream)) {
                    if (text.isNotEmpty()) state = state.copy(lines = state.lines + text, partial = "")
                    recognizer.reset(stream)
                }
            }
            computed += System.nanoTime() - begin
            val factor = if (feeder.seconds > 0) computed * 1e-9 / feeder.seconds else null
            state = state.copy(level = feeder.level, realTimeFactor = factor)
            keep(state)
        }

        while (goesOn && !feeder.ended) {
            decode()
            show(state)
            Thread.sleep(PAUSE_MS)
        }
        feeder.close()
        stream.inputFinished()
        decode()
        val text = state.partial
        keep(state.copy(lines = if (text.isEmpty()) state.lines else state.lines + text, partial = "", level = 0f))
        feeder.failure?.let { throw it }
    }

    /** Reads a source on a thread of its own, so that nothing is lost while a window is decoded. */
    private class Feeder(
        private val recognizer: Recognizer,
        private val stream: RecognizerStream,
        private val source: AudioSource,
    ) : AutoCloseable {
        @Volatile
        private var stopped = false

        @Volatile
        var failure: Exception? = null
            private set

        @Volatile
        var level = 0f
            private set

        @Volatile
        var seconds = 0.0
            private set

        private val thread = thread(name = "audio") { read() }

        val ended: Boolean get() = !thread.isAlive

        private fun read() {
            val samples = FloatArray(recognizer.sampleRate / 10)
            var heard = 0L
            try {
                while (!stopped) {
                    val count = source.read(samples)
                    if (count < 0) break
                    stream.acceptWaveform(recognizer.sampleRate, samples, count)
                    level = (0 until count).maxOfOrNull { abs(samples[it]) } ?: 0f
                    heard += count
                    seconds = heard.toDouble() / recognizer.sampleRate
                    if (stream.waiting > MOST_WAITING) {
                        throw BackendError(
                            "decoding is $MOST_WAITING windows behind: this device is too slow for the model.",
                        )
                    }
                }
            } catch (error: Exception) {
                failure = error
            }
        }

        override fun close() {
            stopped = true
            thread.join()
        }
    }

    private companion object {
        const val PAUSE_MS = 50L

        /** Decoding windows that may wait to be decoded. */
        const val MOST_WAITING = 10
    }
}
