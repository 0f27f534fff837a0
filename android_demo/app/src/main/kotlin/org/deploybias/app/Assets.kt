package org.deploybias.app

import kotlinx.serialization.Serializable
import kotlinx.serialization.json.Json
import org.deploybias.bundle.Bundle
import org.deploybias.bundle.BundleError
import org.deploybias.bundle.Recording
import org.deploybias.bundle.readWav
import java.io.File
import java.io.FileNotFoundException
import java.io.InputStream
import java.security.MessageDigest

/**
 * What `deploy-bias android` put into the app: a bundle and recordings.
 *
 * @param files where the bundle is copied to.
 * @param open opens an asset.
 */
class Assets(
    private val files: File,
    private val open: (path: String) -> InputStream,
) {
    @Serializable
    private class Index(
        val sha256: String,
        val bundle: List<Entry>,
        val recordings: Map<String, String>,
    )

    @Serializable
    private class Entry(
        val path: String,
        val sha256: String,
        val bytes: Long,
    )

    private val index: Index by lazy {
        val text =
            try {
                open("index.json").use { it.readBytes().decodeToString() }
            } catch (error: FileNotFoundException) {
                throw BundleError(
                    "the app holds no bundle; run `deploy-bias android BUNDLE` and build it again.",
                    error,
                )
            }
        Json.decodeFromString(Index.serializer(), text)
    }

    /** The recordings' names, and what Python heard in each. */
    val heard: Map<String, String> get() = index.recordings
    val recordings: List<String> get() = heard.keys.toList()

    fun recording(name: String): Recording = readWav(open("recordings/$name").use { it.readBytes() }, name)

    /**
     * The bundle as files: copied once, and again when the app brings another one or a file is gone
     * or cut. It is there as a whole or not at all, even when the app is killed half-way.
     */
    @Synchronized
    fun bundle(): Bundle {
        val folder = File(files, "$PREFIX${index.sha256}")
        if (index.bundle.any { File(folder, it.path).length() != it.bytes }) {
            folder.deleteRecursively()
            val scratch = File(files, "$SCRATCH${index.sha256}")
            scratch.deleteRecursively()
            for (entry in index.bundle) copy(entry, File(scratch, entry.path))
            if (!scratch.renameTo(folder)) {
                throw BundleError("$folder: cannot be written; is the device's memory full?")
            }
        }
        files
            .listFiles { file -> file != folder && (file.name.startsWith(PREFIX) || file.name.startsWith(SCRATCH)) }
            ?.forEach { it.deleteRecursively() }
        return Bundle.open(folder)
    }

    private fun copy(
        entry: Entry,
        target: File,
    ) {
        target.parentFile?.mkdirs()
        val hash = MessageDigest.getInstance("SHA-256")
        val piece = ByteArray(1 shl 16)
        open("bundle/${entry.path}").use { source ->
            target.outputStream().use { sink ->
                while (true) {
                    val length = source.read(piece)
                    if (length < 0) break
                    hash.update(piece, 0, length)
                    sink.write(piece, 0, length)
                }
            }
        }
        val found = hash.digest().joinToString("") { "%02x".format(it) }
        if (found != entry.sha256 || target.length() != entry.bytes) {
            throw BundleError(
                "assets/bundle/${entry.path}: sha256 ${found.take(12)}…, ${target.length()} bytes; the index says " +
                    "${entry.sha256.take(12)}…, ${entry.bytes} bytes; run `deploy-bias android BUNDLE` again.",
            )
        }
    }

    private companion object {
        const val PREFIX = "bundle-"
        const val SCRATCH = "copying-"
    }
}
