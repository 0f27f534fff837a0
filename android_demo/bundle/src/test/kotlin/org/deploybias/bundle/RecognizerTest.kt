package org.deploybias.bundle

import kotlinx.serialization.json.double
import kotlinx.serialization.json.int
import kotlinx.serialization.json.jsonArray
import kotlinx.serialization.json.jsonObject
import kotlinx.serialization.json.jsonPrimitive
import org.junit.jupiter.api.AfterAll
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.DynamicTest
import org.junit.jupiter.api.DynamicTest.dynamicTest
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.TestFactory
import org.junit.jupiter.api.assertThrows
import kotlin.random.Random

class RecognizerTest {
    private fun hear(
        samples: FloatArray,
        recognizer: Recognizer = Companion.recognizer,
        piece: () -> Int = { 800 },
    ): Recognition =
        recognizer.createStream().use { stream ->
            var at = 0
            while (at < samples.size) {
                val end = minOf(at + piece(), samples.size)
                stream.acceptWaveform(recognizer.sampleRate, samples.copyOfRange(at, end))
                while (recognizer.isReady(stream)) recognizer.decodeStream(stream)
                at = end
            }
            stream.inputFinished()
            while (recognizer.isReady(stream)) recognizer.decodeStream(stream)
            recognizer.getResult(stream)
        }

    @TestFactory
    fun `each recording is heard as in Python, token for token`(): List<DynamicTest> {
        val heard =
            Expected
                .json("recordings.json")
                .jsonObject
                .getValue("heard")
                .jsonObject
        assertEquals(heard.keys.sorted(), Expected.recordings)
        return heard.map { (name, wanted) ->
            dynamicTest(name) {
                val fields = wanted.jsonObject
                val found = hear(Expected.recording(name).samples)
                assertEquals(fields.getValue("text").text(), found.text)
                assertEquals(fields.getValue("tokens").jsonArray.map { it.text() }, found.tokens)
                assertEquals(fields.getValue("labels").jsonArray.map { it.jsonPrimitive.int }, found.labels)
                assertEquals(fields.getValue("timestamps").jsonArray.map { it.jsonPrimitive.double }, found.timestamps)
                assertEquals(fields.getValue("score").jsonPrimitive.double, found.score, 1e-9)
                assertTrue(found.isFinal)
                val logProbs = fields.getValue("log_probs").jsonArray.map { it.jsonPrimitive.double }
                assertEquals(logProbs.size, found.logProbs.size)
                logProbs.zip(found.logProbs).forEach { (a, b) -> assertEquals(a, b, 1e-9) }
                assertEquals(fields.getValue("confidence").jsonPrimitive.double, found.confidence, 1e-9)
                val words = fields.getValue("words").jsonArray.map { it.jsonArray }
                assertEquals(words.map { it[0].text() }, found.words.map { it.text })
                words.zip(found.words).forEach { (wanted, word) ->
                    val numbers = wanted.drop(1).map { it.jsonPrimitive.double }
                    listOf(word.start, word.end, word.confidence).zip(numbers).forEach { (a, b) ->
                        assertEquals(b, a, 1e-9)
                    }
                }
            }
        }
    }

    @Test
    fun `the pieces that audio comes in do not matter`() {
        val samples = Expected.recording(Expected.recordings[2]).samples
        val wanted = hear(samples)
        val random = Random(31)
        for (most in listOf(1, 60, 7000, 100_000)) {
            val found = hear(samples) { 1 + random.nextInt(most) }
            assertEquals(wanted.labels, found.labels)
            assertEquals(wanted.score, found.score)
        }
    }

    @Test
    fun `an utterance ends, and the next one begins`() {
        val samples = Expected.recording("digits_55.wav").samples
        recognizer.createStream().use { stream ->
            val texts = ArrayList<String>()
            repeat(2) {
                stream.acceptWaveform(recognizer.sampleRate, samples + FloatArray(2 * recognizer.sampleRate))
                while (recognizer.isReady(stream)) {
                    recognizer.decodeStream(stream)
                    if (recognizer.isEndpoint(stream) && recognizer.getResult(stream).text.isNotEmpty()) {
                        texts += recognizer.getResult(stream).text
                        recognizer.reset(stream)
                    }
                }
            }
            assertEquals(listOf("five five", "five five"), texts)
            assertTrue(recognizer.getResult(stream).startTime > 2)
        }
    }

    @Test
    fun `nothing said is an empty text`() {
        assertEquals("", hear(FloatArray(0)).text)
        assertEquals("", hear(FloatArray(1)).text)
        assertEquals("", hear(FloatArray(20_000)).text)
    }

    @Test
    fun `silence before the first sample is as in Python`() {
        Recognizer(Expected.bundle, Expected.onnx, leadIn = 0.3).use { leading ->
            val samples = Expected.recording("digits_55.wav").samples
            val found = hear(samples, leading)
            assertEquals("five five", found.text)
            assertTrue(found.timestamps.all { it < samples.size / 8000.0 })
        }
    }

    @Test
    fun `a stream that runs on does not grow`() {
        val noise = FloatArray(80_000) { Random(it).nextFloat() / 100 }
        recognizer.createStream().use { stream ->
            var before = 0L
            for (round in 0 until 12) {
                stream.acceptWaveform(recognizer.sampleRate, noise)
                while (recognizer.isReady(stream)) recognizer.decodeStream(stream)
                recognizer.reset(stream)
                System.gc()
                val used = Runtime.getRuntime().let { it.totalMemory() - it.freeMemory() }
                if (round == 3) before = used
                if (round > 3) assertTrue(used < before + 4_000_000, "$before bytes, then $used")
            }
        }
    }

    @Test
    fun `silence is not remembered`() {
        recognizer.createStream().use { stream ->
            stream.acceptWaveform(recognizer.sampleRate, FloatArray(60 * recognizer.sampleRate))
            while (recognizer.isReady(stream)) recognizer.decodeStream(stream)
            assertTrue(stream.frames > 1000)
            assertTrue(stream.times.isEmpty())
        }
    }

    @Test
    fun `bad audio is an error, and the stream goes on`() {
        recognizer.createStream().use { stream ->
            val message =
                assertThrows<ContractError> {
                    stream.acceptWaveform(
                        8000,
                        floatArrayOf(0f, Float.NaN),
                    )
                }.message
            assertEquals(
                "sample 1 of 2 is NaN; expected finite samples in [-1, 1); divide 16-bit samples by 32768.",
                message,
            )
            val other = assertThrows<ContractError> { stream.acceptWaveform(16000, floatArrayOf(0f)) }.message
            assertEquals("audio at 16000 Hz, expected 8000 Hz, the model's; record at that rate.", other)
            assertFalse(recognizer.isReady(stream))
            stream.inputFinished()
            assertThrows<ContractError> { stream.acceptWaveform(8000, floatArrayOf(0f)) }
            recognizer.decodeStream(stream)
            assertThrows<ContractError> { recognizer.decodeStream(stream) }
            assertEquals("", recognizer.getResult(stream).text)
        }
        val closed = recognizer.createStream()
        closed.close()
        assertThrows<ContractError> { recognizer.isReady(closed) }
    }

    companion object {
        private val recognizer = Recognizer(Expected.bundle, Expected.onnx)

        @AfterAll
        @JvmStatic
        fun close() = recognizer.close()
    }
}
