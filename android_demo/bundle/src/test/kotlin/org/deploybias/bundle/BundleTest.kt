package org.deploybias.bundle

import kotlinx.serialization.json.jsonArray
import kotlinx.serialization.json.jsonObject
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.DynamicTest
import org.junit.jupiter.api.DynamicTest.dynamicTest
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.TestFactory
import org.junit.jupiter.api.assertThrows
import java.io.File

class BundleTest {
    @Test
    fun `a bundle tells what it holds`() {
        assertEquals(
            listOf("executorch", "onnx"),
            Expected.bundle.manifest.backends
                .sorted(),
        )
        val graphs = Graphs.load(Expected.bundle, Expected.onnx)
        assertEquals(
            setOf("frontend", "encoder", "bias", "decoder", "joint"),
            graphs.all.map { it.contract.name }.toSet(),
        )
        graphs.close()
    }

    @TestFactory
    fun `what is broken gives Python's error, word for word`(): List<DynamicTest> =
        Expected.json("errors.json").jsonArray.map { it.jsonObject }.map { said ->
            val fault = said.getValue("fault").text()
            dynamicTest(fault) {
                val error =
                    assertThrows<DeployBiasError> {
                        Graphs.load(Bundle.open(File(Expected.folder, "faults/$fault")), Expected.onnx)
                    }
                assertEquals(said.getValue("kind").text(), error::class.simpleName)
                assertEquals(said.getValue("message").text(), error.message?.replace("${Expected.folder}", "{folder}"))
            }
        }

    @Test
    fun `a field that is missing is named`() {
        val error =
            assertThrows<BundleError> {
                parse(
                    Manifest.serializer(),
                    """{"format": "deploy_bias", "format_version": 2}""",
                    "x",
                )
            }
        assertTrue("exporter" in error.message.orEmpty(), error.message)
    }

    @Test
    fun `what is no JSON is named`() {
        val error = assertThrows<BundleError> { parse(Manifest.serializer(), "{", "x/manifest.json") }
        assertTrue(error.message.orEmpty().startsWith("x/manifest.json: not JSON ("), error.message)
    }

    @Test
    fun `a file that ONNX Runtime cannot load is named`() {
        val error = assertThrows<BundleError> { Expected.onnx.open(ByteArray(9), File("x.onnx"), "9.9") }
        assertTrue(error.message.orEmpty().startsWith("x.onnx: ONNX Runtime "), error.message)
        assertTrue("it was exported with 9.9" in error.message.orEmpty(), error.message)
    }

    @Test
    fun `a cut safetensors file is named`() {
        val data = File(Expected.folder, "rollout.safetensors").readBytes()
        for (size in listOf(0, 7, 40, data.size - 1)) {
            val error = assertThrows<BundleError> { readSafetensors(data.copyOf(size), "x") }
            assertTrue(error.message.orEmpty().startsWith("x: not safetensors ("), error.message)
        }
    }
}
