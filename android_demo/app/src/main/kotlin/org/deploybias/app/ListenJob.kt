package org.deploybias.app

import org.deploybias.bundle.Backend
import org.deploybias.bundle.BundleError
import org.deploybias.bundle.Recognizer
import org.deploybias.bundle.RecognizerStream
import kotlin.math.abs

/** Recognises the microphone, or a recording in its place, until it is stopped or the recording ends. */
class ListenJob(
    private val assets: Assets,
) : Job<ListenJob.State>(State()) {
    /**
     * @property lines the utterances that are over.
     * @property partial the one that is being spoken.
     * @property level of the last 100 ms, 0 to 1.
     * @property realTimeFactor seconds of computation for a second of audio.
     */
    data class State(
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
    ) = start(State()) {
        var last = State()
        try {
            Recognizer(assets.bundle(), backend, leadIn = if (recording == null) LEAD_IN else 0.0).use { recognizer ->
                source(recording, recognizer.sampleRate).use { source ->
                    recognizer.createStream().use { stream -> last = listen(recognizer, stream, source) }
                }
            }
            last
        } catch (error: Exception) {
            last.copy(problem = said(error))
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
        source: AudioSource,
    ): State {
        val samples = FloatArray(recognizer.sampleRate / 10)
        var state = State()
        var computed = 0L
        var heard = 0L

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
            if (heard > 0) state = state.copy(realTimeFactor = computed * 1e-9 * recognizer.sampleRate / heard)
        }

        while (goesOn) {
            val count = source.read(samples)
            if (count < 0) break
            heard += count
            stream.acceptWaveform(recognizer.sampleRate, samples, count)
            decode()
            state = state.copy(level = (0 until count).maxOfOrNull { abs(samples[it]) } ?: 0f)
            show(state)
        }
        stream.inputFinished()
        decode()
        val text = state.partial
        return state.copy(lines = if (text.isEmpty()) state.lines else state.lines + text, partial = "", level = 0f)
    }

    private companion object {
        /** Silence before what the microphone hears: a word that starts at once would be lost. */
        const val LEAD_IN = 0.3
    }
}
