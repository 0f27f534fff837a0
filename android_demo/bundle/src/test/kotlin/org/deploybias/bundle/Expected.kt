package org.deploybias.bundle

import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.jsonPrimitive
import java.io.File

/** What Python wrote for the tests: see tests/expected. */
object Expected {
    val folder: File by lazy {
        val said = System.getProperty("deploybias.expected") ?: error("-Ddeploybias.expected=FOLDER is missing")
        File(said).also {
            check(
                File(it, "recordings.json").isFile,
            ) { "$it: nothing expected there; run `make expected`" }
        }
    }
    val bundle: Bundle by lazy { Bundle.open(File(folder, "bundle")) }
    val onnx = OnnxBackend()

    fun json(name: String): JsonElement = Json.parseToJsonElement(File(folder, name).readText())

    fun tensors(name: String): Map<String, Tensor> = readSafetensors(File(folder, name).readBytes(), name)

    fun recording(name: String): Recording = readWav(File(folder, "recordings/$name").readBytes(), name)

    val recordings: List<String>
        get() =
            File(folder, "recordings")
                .list()
                .orEmpty()
                .filter { it.endsWith(".wav") }
                .sorted()
}

internal fun JsonElement.text(): String = jsonPrimitive.content
