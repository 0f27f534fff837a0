package org.deploybias.app

import android.Manifest
import android.content.Intent
import android.content.pm.PackageManager
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.jsonArray
import kotlinx.serialization.json.jsonObject
import kotlinx.serialization.json.jsonPrimitive
import org.deploybias.bundle.BundleError
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config
import org.robolectric.annotation.GraphicsMode
import org.robolectric.shadows.ShadowAudioRecord
import java.io.File

/** The app on Robolectric's Android, with the real ONNX Runtime and a bundle that Python exported. */
@RunWith(RobolectricTestRunner::class)
@GraphicsMode(GraphicsMode.Mode.NATIVE)
@Config(
    sdk = [34],
    application = TestApplication::class,
    manifest = Config.NONE,
    qualifiers = "w411dp-h731dp-xhdpi",
)
class AppTest {
    private val controller = lazy(::launch)
    private val activity: MainActivity get() = controller.value.get()

    @After
    fun close() {
        demo().proof.cancel()
        demo().listening.cancel()
        waitUntil("the jobs end") { !demo().proof.isRunning && !demo().listening.isRunning }
        if (controller.isInitialized()) {
            controller.value
                .pause()
                .stop()
                .destroy()
        }
    }

    private fun prove() {
        activity.press(Words.RUN)
        waitUntil("the proof ends") { !demo().proof.isRunning }
    }

    @Test
    fun `the proof passes on every graph`() {
        assertTrue(Words.RUN in activity.texts())
        prove()
        val texts = activity.texts()
        assertTrue("$texts", Words.PROVEN in texts)
        for (graph in listOf("frontend", "encoder", "bias", "decoder", "joint")) assertTrue(graph, graph in texts)
        assertEquals(5, texts.count { it == "pass" })
        activity.screenshot("proof")
    }

    @Test
    fun `a bundle with one weight changed is shown to fail`() {
        val folder = demo().assetFiles.bundle().folder
        changeOneWeight(folder)
        prove()
        val texts = activity.texts()
        assertTrue("$texts", Words.FAILED in texts)
        assertEquals(1, texts.count { it == "FAIL" })
        assertTrue("$texts", texts.any { it.startsWith("case '") && "logits: off by" in it })
        activity.screenshot("proof-failed")
    }

    @Test
    fun `the report can be shared as JSON`() {
        prove()
        activity.press(Words.SHARE)
        val chooser = shadowOf(activity).nextStartedActivity
        val sent = chooser.getParcelableExtra(Intent.EXTRA_INTENT, Intent::class.java)
        val report = Json.parseToJsonElement(sent?.getStringExtra(Intent.EXTRA_TEXT).orEmpty()).jsonObject
        assertEquals(5, report.getValue("rows").jsonArray.size)
    }

    @Test
    fun `a proof goes on when the device is turned`() {
        activity.press(Words.RUN)
        assertTrue(demo().proof.isRunning)
        controller.value.recreate()
        assertTrue("${activity.texts()}", Words.CANCEL in activity.texts() || !demo().proof.isRunning)
        waitUntil("the proof ends") { !demo().proof.isRunning }
        assertTrue(Words.PROVEN in activity.texts())
    }

    @Test
    fun `what is picked stays when the device is turned`() {
        activity.pick(0, 1)
        activity.press(Words.LISTEN)
        activity.pick(1, 2)
        controller.value.recreate()
        assertEquals(2, activity.picked(1))
        activity.press(Words.PROOF)
        assertEquals(1, activity.picked(0))
    }

    @Test
    fun `the microphone may be allowed after the device is turned`() {
        activity.press(Words.LISTEN)
        activity.press(Words.START)
        controller.value.recreate()
        shadowOf(demo()).grantPermissions(Manifest.permission.RECORD_AUDIO)
        val quiet =
            object : ShadowAudioRecord.AudioRecordSource {
                override fun readInShortArray(
                    samples: ShortArray,
                    offset: Int,
                    size: Int,
                    isBlocking: Boolean,
                ): Int {
                    Thread.sleep(100)
                    return size
                }
            }
        ShadowAudioRecord.setSourceProvider { quiet }
        activity.onRequestPermissionsResult(
            1,
            arrayOf(Manifest.permission.RECORD_AUDIO),
            intArrayOf(PackageManager.PERMISSION_GRANTED),
        )
        assertTrue(demo().listening.isRunning)
    }

    @Test
    fun `a second screen over the first one is shown the proof`() {
        val first = controller.value.pause()
        val second = launch()
        first.stop()
        second.get().press(Words.RUN)
        waitUntil("the proof ends") { !demo().proof.isRunning }
        assertTrue("${second.get().texts()}", Words.PROVEN in second.get().texts())
        second.pause().stop().destroy()
    }

    @Test
    fun `a proof can be cancelled`() {
        activity.press(Words.RUN)
        activity.press(Words.CANCEL)
        waitUntil("the proof ends") { !demo().proof.isRunning }
        assertTrue("${activity.texts()}", Words.CANCELLED in activity.texts())
    }

    @Test
    fun `a recording is heard as in Python, and the text grows`() {
        val heard = Json.parseToJsonElement(File(expected, "recordings.json").readText()).jsonObject.getValue("heard")
        val name = "prompts_4.wav"
        val wanted =
            heard.jsonObject
                .getValue(name)
                .jsonObject
                .getValue("utterances")
                .jsonArray
                .map { it.jsonPrimitive.content }
        activity.press(Words.LISTEN)
        activity.pick(1, 1 + demo().assetFiles.recordings.indexOf(name))
        activity.press(Words.START)
        val partials = LinkedHashSet<String>()
        waitUntil("the recording ends") {
            partials += demo().listening.state.partial
            if (partials.size == 4) activity.screenshot("listen")
            !demo().listening.isRunning
        }
        val lines = demo().listening.state.lines // one for each utterance: the speaker pauses
        assertEquals(wanted, lines)
        assertTrue(lines.joinToString("\n") in activity.texts())
        assertTrue("$partials", partials.size > 2)
        assertTrue(checkNotNull(demo().listening.state.realTimeFactor) < 1)
        activity.screenshot("listened")
    }

    @Test
    fun `listening stops when it is told to`() {
        activity.press(Words.LISTEN)
        activity.pick(1, 1)
        activity.press(Words.START)
        activity.press(Words.STOP)
        waitUntil("it stops") { !demo().listening.isRunning }
        assertEquals(null, demo().listening.state.problem)
    }

    @Test
    fun `a refused microphone is explained, and the recordings stay`() {
        activity.press(Words.LISTEN)
        activity.press(Words.START)
        assertEquals(
            listOf(Manifest.permission.RECORD_AUDIO),
            shadowOf(activity).lastRequestedPermission.requestedPermissions.toList(),
        )
        activity.onRequestPermissionsResult(
            1,
            arrayOf(Manifest.permission.RECORD_AUDIO),
            intArrayOf(PackageManager.PERMISSION_DENIED),
        )
        assertTrue(Words.REFUSED in activity.texts())
        assertFalse(demo().listening.isRunning)
    }

    @Test
    fun `the microphone is listened to once it is allowed`() {
        shadowOf(demo()).grantPermissions(Manifest.permission.RECORD_AUDIO)
        val quiet =
            object : ShadowAudioRecord.AudioRecordSource {
                override fun readInShortArray(
                    samples: ShortArray,
                    offset: Int,
                    size: Int,
                    isBlocking: Boolean,
                ): Int {
                    Thread.sleep(100)
                    return size
                }
            }
        ShadowAudioRecord.setSourceProvider { quiet }
        activity.press(Words.LISTEN)
        activity.press(Words.START)
        waitUntil("it listens") { demo().listening.state.realTimeFactor != null }
        activity.press(Words.STOP)
        waitUntil("it stops") { !demo().listening.isRunning }
        assertEquals(null, demo().listening.state.problem)
    }

    /** ExecuTorch's library has no desktop build: [ExecuTorchBackend] is compiled here, against stubs, and not run. */
    @Test
    fun `where ExecuTorch is not there, the screen says so`() {
        activity.pick(0, 1)
        prove()
        val texts = activity.texts()
        assertTrue("$texts", texts.any { it.startsWith("ExecuTorch's native library is not on this device") })
    }

    @Test
    fun `the bundle is copied once`() {
        val folder = demo().assetFiles.bundle().folder
        val marker = File(folder, "marker").also { it.writeText("x") }
        assertEquals(folder, Assets(demo().filesDir, demo()::asset).bundle().folder)
        assertTrue(marker.exists())
    }

    @Test
    fun `it is copied again when the app brings another one, and the older one goes`() {
        val older = demo().assetFiles.bundle().folder
        val index = demo().asset("index.json").use { it.readBytes().decodeToString() }
        val sum = Regex("\"sha256\": \"([0-9a-f]+)\"").find(index)!!.groupValues[1]
        val other = index.replaceFirst(sum, "0".repeat(64))
        val newer = Assets(demo().filesDir) { if (it == "index.json") other.byteInputStream() else demo().asset(it) }
        assertTrue(
            newer
                .bundle()
                .folder.name
                .endsWith("0".repeat(64)),
        )
        assertFalse(older.exists())
    }

    @Test
    fun `it is copied again where a file is gone or cut`() {
        val folder = demo().assetFiles.bundle().folder
        File(folder, "tokens.txt").delete()
        File(folder, "decoder.onnx").writeBytes(ByteArray(10))
        val bundle = demo().assetFiles.bundle()
        assertEquals(folder, bundle.folder)
        bundle.manifest.artifacts.forEach { bundle.read(it) }
        assertTrue(File(folder, "tokens.txt").exists())
    }

    @Test
    fun `a copy that breaks off leaves no bundle, and the next one is whole`() {
        var left = 3
        val broken = Assets(demo().filesDir) { if (left-- > 0) demo().asset(it) else throw java.io.IOException("full") }
        assertThrows(java.io.IOException::class.java) { broken.bundle() }
        assertTrue(
            demo()
                .filesDir
                .list()
                .orEmpty()
                .none { it.startsWith("bundle-") },
        )
        demo().assetFiles.bundle()
        assertTrue(
            demo()
                .filesDir
                .list()
                .orEmpty()
                .none { it.startsWith("copying-") },
        )
    }

    @Test
    fun `an asset that is not what the index says is refused`() {
        val wrong =
            Assets(demo().filesDir) { if (it.endsWith("joiner.onnx")) "x".byteInputStream() else demo().asset(it) }
        val error = assertThrows(BundleError::class.java) { wrong.bundle() }
        assertTrue(error.message.orEmpty(), "joiner.onnx: sha256" in error.message.orEmpty())
    }
}

/** Adds 1 % to one weight of the joint network, in the file and with a manifest that says so. */
private fun changeOneWeight(folder: File) {
    val path = File(folder, "joiner.onnx")
    val before = path.readBytes()
    val weight = checkNotNull(weightsOf(before))
    val data = before.copyOf()
    val bytes =
        java.nio.ByteBuffer
            .wrap(data)
            .order(java.nio.ByteOrder.LITTLE_ENDIAN)
    bytes.putFloat(weight, bytes.getFloat(weight) * 1.01f)
    path.writeBytes(data)
    val manifest = File(folder, "manifest.json")
    manifest.writeText(manifest.readText().replace(sha256(before), sha256(data)))
}

private fun sha256(data: ByteArray): String =
    java.security.MessageDigest
        .getInstance("SHA-256")
        .digest(data)
        .joinToString("") { "%02x".format(it) }

/** Where the largest weight of the longest run of plausible float32 numbers lies. */
private fun weightsOf(data: ByteArray): Int? {
    val bytes =
        java.nio.ByteBuffer
            .wrap(data)
            .order(java.nio.ByteOrder.LITTLE_ENDIAN)
    return (0 until data.size / 2)
        .filter { at -> (0 until 64).all { kotlin.math.abs(bytes.getFloat(at + 4 * it)) in 1e-6f..10f } }
        .maxByOrNull { kotlin.math.abs(bytes.getFloat(it)) }
}
