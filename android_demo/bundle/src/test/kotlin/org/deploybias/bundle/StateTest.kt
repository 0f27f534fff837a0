package org.deploybias.bundle

import kotlinx.serialization.json.Json
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows

/** The rules of state on a graph of no known kind: two hypotheses, windows of three rows. */
class StateTest {
    private fun contract(output: String = "total") =
        decode(
            GraphContract.serializer(),
            Json.parseToJsonElement(
                """{"name": "any", "kind": "any", "module": {"type": "any", "weights": ""},
                "inputs": [
                    {"name": "frames", "dtype": "int64", "shape": [1]},
                    {"name": "total_before", "dtype": "int64", "shape": [2]},
                    {"name": "rows_window", "dtype": "float32", "shape": [2, 3, 1]},
                    {"name": "row_window", "dtype": "float32", "shape": [2, 3, 1]},
                    {"name": "valid", "dtype": "int64", "shape": [2]},
                    {"name": "turn", "dtype": "int64", "shape": [2]}],
                "outputs": [
                    {"name": "total", "dtype": "int64", "shape": [2]},
                    {"name": "rows", "dtype": "float32", "shape": [2, 4, 1],
                     "rows": {"input": "frames", "offset": 1, "stride": 2}},
                    {"name": "row", "dtype": "float32", "shape": [2, 2, 1]}],
                "state": [
                    {"update": "replace", "input": "total_before", "output": "$output", "initial": 7.0},
                    {"update": "append", "input": "rows_window", "output": "rows"},
                    {"update": "append", "input": "row_window", "output": "row", "row": 1},
                    {"update": "count", "input": "valid", "output": "rows", "limit": 5},
                    {"update": "count", "input": "turn", "initial": 1, "limit": 9, "restart_at": 4}]}""",
            ),
            "any",
        )

    /** Adds the frames to the total; the number of an element in its output, and ten times the total. */
    private val session =
        object : Session {
            override val label: String? = null

            override fun run(
                graph: GraphContract,
                inputs: Array<Tensor>,
                outputs: Array<Tensor>,
            ) {
                val total = inputs[1].longs.get(0) + inputs[0].longs.get(0)
                outputs[0].fill(total.toDouble())
                for (output in outputs.drop(1)) for (i in 0 until output.size) output.floats.put(i, i + 10f * total)
            }

            override fun close() = Unit
        }

    private fun State.step(frames: Long) {
        inputs[0].longs.put(0, frames)
        run()
        advance()
    }

    private fun State.carried() =
        inputs.drop(1).map { input ->
            List(input.size) { if (input.dtype == DType.INT64) input.longs.get(it) else input.floats.get(it).toLong() }
        }

    private fun lists(vararg values: List<Long>) = values.toList()

    private val first =
        lists(listOf(7, 7), List(6) { 0 }, List(6) { 0 }, listOf(0, 0), listOf(1, 1))

    @Test
    fun `each hypothesis of a batch has its own rows, the oldest one first`() {
        val state = State(Graph(contract(), session, ""))
        assertEquals(first, state.carried())
        state.step(5) // two rows are genuine, the total is 12
        val second =
            lists(listOf(12, 12), listOf(0, 120, 121, 0, 124, 125), listOf(0, 0, 122, 0, 0, 123), listOf(2, 2))
        assertEquals(second + lists(listOf(2, 2)), state.carried())
        state.step(0) // none is
        val third = lists(listOf(12, 12), second[1], listOf(0, 122, 122, 0, 123, 123), listOf(2, 2), listOf(3, 3))
        assertEquals(third, state.carried())
        state.step(9) // four rows, more than the window holds; the counts reach their ends
        val fourth =
            lists(listOf(21, 21), listOf(211, 212, 213, 215, 216, 217), listOf(122, 122, 212, 123, 123, 213))
        assertEquals(fourth + lists(listOf(5, 5), listOf(1, 1)), state.carried())
        state.reset()
        assertEquals(first, state.carried())
    }

    @Test
    fun `a copy goes its own way`() {
        val graph = Graph(contract(), session, "")
        val state = State(graph)
        repeat(5) { state.step(3) }
        val before = state.carried()
        val other = State(graph).also { it.copy(state) }
        assertEquals(before, other.carried())
        state.step(9)
        assertEquals(before, other.carried())
        other.step(9)
        assertEquals(state.carried(), other.carried())
    }

    @Test
    fun `a state that is made of no output is named`() {
        val error = assertThrows<ContractError> { State(Graph(contract("none"), session, "")) }
        assertEquals(
            "graph 'any': the state 'total_before' is made of 'none', and the graph has the inputs frames, " +
                "total_before, rows_window, row_window, valid, turn and the outputs total, rows, row; export again.",
            error.message,
        )
    }
}
