package org.deploybias.bundle

import kotlinx.serialization.json.JsonNull
import kotlinx.serialization.json.int
import kotlinx.serialization.json.jsonArray
import kotlinx.serialization.json.jsonObject
import kotlinx.serialization.json.jsonPrimitive
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.DynamicTest
import org.junit.jupiter.api.DynamicTest.dynamicTest
import org.junit.jupiter.api.TestFactory
import org.junit.jupiter.api.assertThrows
import java.io.File

/** Whole, cut and odd files: the samples, the warnings and the text of Python, or an error where it has one. */
class WavTest {
    @TestFactory
    fun `each file is read and heard as in Python`(): List<DynamicTest> {
        val samples = Expected.tensors("wavs.safetensors")
        val recognizer = Recognizer(Expected.bundle, Expected.onnx)
        return Expected.json("wavs.json").jsonObject.map { (name, wanted) ->
            dynamicTest(name) {
                val data = File(Expected.folder, "wavs/$name.wav").readBytes()
                if (wanted is JsonNull) {
                    assertThrows<BundleError> { readWav(data, name) }
                    return@dynamicTest
                }
                val fields = wanted.jsonObject
                val found = readWav(data, name)
                val expected = samples.getValue(name)
                assertEquals(fields.getValue("rate").jsonPrimitive.int, found.sampleRate)
                assertEquals(List(expected.size) { expected.floats.get(it) }, found.samples.toList())
                assertEquals(fields.getValue("warnings").jsonArray.map { it.text() }, found.warnings)
                recognizer.createStream().use { stream ->
                    stream.acceptWaveform(found.sampleRate, found.samples)
                    stream.inputFinished()
                    while (recognizer.isReady(stream)) recognizer.decodeStream(stream)
                    val heard = recognizer.getResult(stream)
                    assertEquals(fields.getValue("text").text(), heard.text)
                    assertEquals(fields.getValue("labels").jsonArray.map { it.jsonPrimitive.int }, heard.labels)
                }
            }
        }
    }
}
