package org.deploybias.bundle

import kotlinx.serialization.DeserializationStrategy
import kotlinx.serialization.ExperimentalSerializationApi
import kotlinx.serialization.SerializationException
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonNull
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive
import kotlinx.serialization.json.contentOrNull
import kotlinx.serialization.json.longOrNull
import java.io.File
import java.security.MessageDigest

/** The folder that `deploy-bias export` writes and every runtime reads. */
class Bundle private constructor(
    val folder: File,
    val manifest: Manifest,
) {
    /** The bytes of a file of the manifest, their hash checked. */
    fun read(file: BundleFile): ByteArray {
        val path = File(folder, file.path)
        if (".." in file.path.split("/") || file.path.startsWith("/")) {
            throw BundleError("$path: leaves the bundle; export again.")
        }
        if (!path.isFile) {
            throw BundleError("$path: missing, but the manifest lists it; export again.")
        }
        if (!path.canonicalPath.startsWith(folder.canonicalPath + File.separator)) {
            throw BundleError("$path: a link that leaves the bundle; export again.")
        }
        val data = path.readBytes()
        val found = sha256(data)
        if (found != file.sha256 || data.size.toLong() != file.bytes) {
            throw BundleError(
                "$path: sha256 ${found.take(12)}…, ${data.size} bytes; the manifest says " +
                    "${file.sha256.take(12)}…, ${file.bytes} bytes. It was changed or cut; export again.",
            )
        }
        return data
    }

    /** The tensors of a safetensors file of the manifest. */
    fun tensors(file: BundleFile): Map<String, Tensor> = readSafetensors(read(file), "${File(folder, file.path)}")

    /** The artifacts of one backend and precision. */
    fun artifacts(
        backend: String,
        precision: String,
    ): List<Artifact> {
        val found = manifest.artifacts.filter { it.backend == backend && it.precision == precision }
        if (found.isEmpty()) {
            val has = manifest.backends.joinToString(", ") { "$it (${manifest.precisions(it).joinToString(", ")})" }
            throw BackendError(
                "$folder: no artifact for backend '$backend' in precision '$precision'; " +
                    "it has $has. Take one of these, or export again with what is missing.",
            )
        }
        return found
    }

    /** Checks the label found inside an artifact against the manifest. */
    fun checkLabel(
        artifact: Artifact,
        text: String?,
    ) {
        val path = File(folder, artifact.path)
        if (text.isNullOrEmpty()) {
            throw BundleError(
                "$path: carries no deploy_bias label; expected a file that `deploy-bias export` wrote.",
            )
        }
        val label = parse(Label.serializer(), text, "$path")
        val expected = manifest.label(artifact)
        val fields =
            listOf(
                Triple("format", label.format, expected.format),
                Triple("format_version", label.formatVersion, expected.formatVersion),
                Triple("exporter", label.exporter, expected.exporter),
                Triple("weights_sha256", label.weightsSha256, expected.weightsSha256),
                Triple("precision", label.precision, expected.precision),
                Triple("graphs", label.graphs, expected.graphs),
            )
        for ((field, found, wanted) in fields) {
            if (found != wanted) {
                throw BundleError(
                    "$path: its own $field differs from the manifest's: found $found, expected " +
                        "$wanted. The file is from another bundle; export again.",
                )
            }
        }
    }

    companion object {
        /** Opens a bundle: reads and checks its manifest. */
        fun open(folder: File): Bundle {
            val path = File(folder, "manifest.json")
            if (!path.isFile) {
                val what = if (folder.isDirectory) "holds no manifest.json" else "is not a folder"
                throw BundleError(
                    "$folder: $what; expected a bundle, the folder that `deploy-bias export` writes.",
                )
            }
            return Bundle(folder, parse(Manifest.serializer(), path.readText(), "$path"))
        }
    }
}

internal fun sha256(data: ByteArray): String =
    MessageDigest.getInstance("SHA-256").digest(data).joinToString("") { "%02x".format(it) }

@OptIn(ExperimentalSerializationApi::class)
private val strict = Json { explicitNulls = false }

/** Reads a manifest or a label, the version before all else. */
internal fun <T> parse(
    serializer: DeserializationStrategy<T>,
    text: String,
    where: String,
): T {
    val content =
        try {
            strict.parseToJsonElement(text)
        } catch (error: SerializationException) {
            throw BundleError("$where: not JSON (${firstLine(error)}); export again.", error)
        }
    val format = (content as? JsonObject)?.get("format")
    if ((format as? JsonPrimitive)?.contentOrNull != FORMAT) {
        throw BundleError(
            "$where: format is ${said(
                format,
            )}, expected '$FORMAT'; name a file or folder that `deploy-bias export` wrote.",
        )
    }
    val number = (content as JsonObject)["format_version"]
    val version =
        (number as? JsonPrimitive)?.takeUnless { it.isString }?.longOrNull
            ?: throw BundleError("$where: format_version must be an int, got ${said(number)}; export again.")
    if (version > FORMAT_VERSION) {
        throw BundleError(
            "$where: format version $version, and this deploy_bias reads $FORMAT_VERSION; " +
                "upgrade deploy-bias, or export again with this one.",
        )
    }
    if (version < FORMAT_VERSION) {
        throw BundleError(
            "$where: format version $version, and this deploy_bias reads $FORMAT_VERSION; " +
                "export again with this one.",
        )
    }
    return decode(serializer, content, where)
}

/** Reads a value that must fit the schema. */
internal fun <T> decode(
    serializer: DeserializationStrategy<T>,
    content: JsonElement,
    where: String,
): T =
    try {
        strict.decodeFromJsonElement(serializer, content)
    } catch (error: IllegalArgumentException) {
        throw BundleError("$where: ${firstLine(error)}; export again.", error)
    }

/** As Python shows it. */
private fun said(value: JsonElement?): String =
    when {
        value == null || value is JsonNull -> "None"
        value is JsonPrimitive && value.isString -> "'${value.content}'"
        else -> value.toString()
    }

private fun firstLine(error: Throwable): String =
    error.message
        .orEmpty()
        .lineSequence()
        .first()
