package org.deploybias.bundle

import com.sun.management.ThreadMXBean
import org.junit.jupiter.api.AfterAll
import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows
import java.lang.management.ManagementFactory

class DecoderTest {
    private val rollout = Expected.tensors("rollout.safetensors")
    private val labels =
        rollout.getValue("label").let { stored ->
            IntArray(stored.size) { stored.longs.get(it).toInt() }
        }

    private fun out(hypothesis: Hypothesis) = hypothesis.decoderOut.toFloatArray()

    private fun fed(labels: List<Int>) = decoder.start().also { labels.forEach(it::step) }

    @Test
    fun `every output and every next state of a rollout past three windows equals Python's bit for bit`() {
        val graph = graphs["decoder"]
        val contract = graph.contract
        val state = State(graph)
        val hypothesis = decoder.start()
        for ((step, label) in labels.withIndex()) {
            hypothesis.step(label)
            state.inputs[decoder.labelIndex].longs.put(0, label.toLong())
            state.run()
            state.advance()
            assertStored("decoder_out", step, state.outputs[0])
            assertStored("decoder_out", step, hypothesis.decoderOut)
            for (rule in contract.state) assertStored(rule.input, step, state.inputs[contract.inputIndex(rule.input)])
        }
    }

    /** Of a window, its newest row is stored. */
    private fun assertStored(
        name: String,
        step: Int,
        found: Tensor,
    ) {
        val stored = rollout.getValue(name)
        val size = stored.size / labels.size
        val behind = found.size - size
        for (i in 0 until size) {
            if (found.dtype == DType.INT64) {
                assertEquals(stored.longs.get(step * size + i), found.longs.get(behind + i), "$name, step $step")
            } else {
                assertEquals(stored.floats.get(step * size + i), found.floats.get(behind + i), "$name, step $step")
            }
        }
    }

    @Test
    fun `a fork goes its own way`() {
        val stem = fed(labels.take(20))
        val branch = stem.fork()
        branch.step(3)
        stem.step(5)
        assertArrayEquals(out(fed(labels.take(20) + 3)), out(branch))
        assertArrayEquals(out(fed(labels.take(20) + 5)), out(stem))
        assertFalse(out(branch).contentEquals(out(stem)))
    }

    @Test
    fun `a reset hypothesis is a new one`() {
        val hypothesis = fed(labels.take(200))
        hypothesis.reset()
        labels.take(9).forEach(hypothesis::step)
        assertArrayEquals(out(fed(labels.take(9))), out(hypothesis))
    }

    @Test
    fun `a label out of range changes nothing`() {
        val hypothesis = fed(listOf(0))
        for (label in listOf(-1, 14)) {
            val error = assertThrows<ContractError> { hypothesis.step(label) }
            assertEquals("label must be 0 to 13, got $label.", error.message)
        }
        hypothesis.step(3)
        assertArrayEquals(out(fed(listOf(0, 3))), out(hypothesis))
    }

    @Test
    fun `a closed hypothesis says so`() {
        val hypothesis = fed(listOf(0))
        hypothesis.close()
        assertThrows<ContractError> { hypothesis.step(0) }
    }

    @Test
    fun `a graph that is no decoder says so`() {
        val error = assertThrows<ContractError> { Decoder(graphs["joint"]) }
        assertTrue(error.message.orEmpty().startsWith("graph 'joint' is no decoder"), error.message)
    }

    /** ONNX Runtime's own call allocates; what is around it must not. */
    @Test
    fun `a step allocates nothing after warm-up`() {
        val threads = ManagementFactory.getThreadMXBean() as ThreadMXBean
        val thread = Thread.currentThread().id
        val silent =
            object : Session {
                override val label: String? = null

                override fun run(
                    graph: GraphContract,
                    inputs: Array<Tensor>,
                    outputs: Array<Tensor>,
                ) = Unit

                override fun close() = Unit
            }

        fun bytesAStep(session: Session): Double {
            val hypothesis = Decoder(Graph(graphs["decoder"].contract, session, "")).start()
            val steps = 20_000
            repeat(steps) { hypothesis.step(it % 14) }
            val before = threads.getThreadAllocatedBytes(thread)
            repeat(steps) { hypothesis.step(it % 14) }
            val bytes = threads.getThreadAllocatedBytes(thread) - before
            return bytes.toDouble() / steps
        }
        // What it takes to ask is some bytes, and a compiler may still be at work.
        assertTrue(bytesAStep(silent) < 1, "around the call: ${bytesAStep(silent)} bytes a step")
        println("allocated by ONNX Runtime's own call: ${bytesAStep(graphs["decoder"].session)} bytes a step")
    }

    companion object {
        private val graphs = Graphs.load(Expected.bundle, Expected.onnx)
        private val decoder = Decoder(graphs["decoder"])

        @AfterAll
        @JvmStatic
        fun close() = graphs.close()
    }
}
