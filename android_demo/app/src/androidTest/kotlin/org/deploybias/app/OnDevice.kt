package org.deploybias.app

import androidx.test.platform.app.InstrumentationRegistry
import org.deploybias.bundle.Backend
import org.deploybias.bundle.Proof
import org.deploybias.bundle.Recognizer
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test

/** On a real device or an emulator: the golden rollouts and the recordings, on both runtimes. */
class OnDevice {
    private val demo
        get() =
            checkNotNull(
                InstrumentationRegistry.getInstrumentation(),
            ).targetContext.applicationContext as DemoApplication

    private fun backend(name: String): Backend = demo.backends.first { it.name == name }

    private fun prove(name: String) {
        val report = Proof(demo.assetFiles.bundle(), backend(name)).run("device")
        assertTrue(report.toJson(), report.passed)
        if (name == "executorch") {
            for (row in report.rows) assertEquals(row.graph, listOf("XnnpackBackend"), row.delegates.distinct())
        }
    }

    private fun hear(name: String) {
        Recognizer(demo.assetFiles.bundle(), backend(name)).use { recognizer ->
            assertTrue(demo.assetFiles.heard.isNotEmpty())
            for ((recording, text) in demo.assetFiles.heard) {
                recognizer.createStream().use { stream ->
                    stream.acceptWaveform(recognizer.sampleRate, demo.assetFiles.recording(recording).samples)
                    stream.inputFinished()
                    while (recognizer.isReady(stream)) recognizer.decodeStream(stream)
                    assertEquals(recording, text, recognizer.getResult(stream).text)
                }
            }
        }
    }

    @Test
    fun onnxComputesWhatEagerComputed() = prove("onnx")

    @Test
    fun executorchComputesWhatEagerComputed() = prove("executorch")

    @Test
    fun onnxHearsWhatPythonHeard() = hear("onnx")

    @Test
    fun executorchHearsWhatPythonHeard() = hear("executorch")
}
