package org.deploybias.bundle

import java.io.Closeable

/**
 * The one interpreter of state: a graph over steps, its state carried as the contract says. The
 * decoder, the encoder and the proof run on it, so a graph with any state runs without more code.
 *
 * A step allocates nothing once its windows have gone round.
 */
class State(
    private val graph: Graph,
) : Closeable {
    private val contract = graph.contract
    private val rules = contract.state
    private val inputs = graph.newInputs()
    private val outputOf = IntArray(rules.size) { place(rules[it].output) }
    private val inputOf = IntArray(rules.size) { i -> contract.inputs.indexOfFirst { it.name == rules[i].input } }
    private val windows =
        Array(rules.size) { i ->
            if (rules[i].update == StateRule.Update.APPEND) Window(contract.inputs[inputOf[i]]) else null
        }

    // The input that says how many rows of an output are genuine; -1 where all are.
    private val rowsOf =
        IntArray(contract.outputs.size) { i ->
            val rows = contract.outputs[i].rows
            if (rows == null) -1 else contract.inputs.indexOfFirst { it.name == rows.input }
        }

    /** What the last step gave, in the order of the contract; the next step overwrites it. */
    val outputs: Array<Tensor> = graph.newOutputs()

    init {
        reset()
    }

    /** An input by its place in the contract; of a state what the next step is fed. */
    fun input(index: Int): Tensor = inputs[index]

    /** An input by its name. */
    fun input(name: String): Tensor = inputs[contract.inputs.indexOfFirst { it.name == name }]

    /** Feeds a tensor as an input that is not state. */
    fun feed(
        index: Int,
        tensor: Tensor,
    ) {
        inputs[index] = tensor
    }

    /** Runs the graph on its inputs; the state stays. */
    fun run() = graph.run(inputs, outputs)

    /** Makes the state after the step. */
    fun advance() {
        for (i in rules.indices) {
            val rule = rules[i]
            val input = inputs[inputOf[i]]
            when (rule.update) {
                StateRule.Update.REPLACE -> {
                    inputs[inputOf[i]] = outputs[outputOf[i]]
                    outputs[outputOf[i]] = input
                }

                StateRule.Update.APPEND -> {
                    append(i)
                }

                StateRule.Update.COUNT -> {
                    val grown = input.longs.get(0) + (if (rule.output == null) 1 else genuineRows(outputOf[i]))
                    val next = if (grown == rule.restartAt?.toLong()) rule.initial.toLong() else limited(rule, grown)
                    for (lane in 0 until input.size) input.longs.put(lane, next)
                }
            }
        }
    }

    /** How many rows of an output's axis 1 are genuine. */
    fun genuineRows(output: Int): Int {
        val spec = contract.outputs[output]
        val rows = spec.rows ?: return outputs[output].shape[1].toInt()
        return rows.count(inputs[rowsOf[output]].longs.get(0).toInt())
    }

    /** Whether only some rows of an output are genuine. */
    fun hasRows(output: Int): Boolean = rowsOf[output] >= 0

    /** Takes over the state and the outputs of another one of the same graph. */
    fun copy(other: State) {
        for (i in rules.indices) {
            val window = windows[i]
            if (window == null) {
                val input = inputs[inputOf[i]]
                val from = other.inputs[inputOf[i]]
                if (input.dtype == DType.INT64) {
                    for (lane in 0 until input.size) input.longs.put(lane, from.longs.get(lane))
                } else {
                    input.copy(from)
                }
            } else {
                window.copy(checkNotNull(other.windows[i]))
                inputs[inputOf[i]] = window.view()
            }
        }
        for (i in outputs.indices) outputs[i].copy(other.outputs[i])
    }

    /** Goes back to the state before the first step. */
    fun reset() {
        for (i in rules.indices) {
            val window = windows[i]
            if (window == null) {
                inputs[inputOf[i]].fill(rules[i].initial)
            } else {
                window.clear()
                inputs[inputOf[i]] = window.view()
            }
        }
    }

    override fun close() {
        inputs.forEach(Tensor::close)
        outputs.forEach(Tensor::close)
        windows.forEach { it?.close() }
    }

    private fun append(i: Int) {
        val window = checkNotNull(windows[i])
        val output = outputs[outputOf[i]]
        if (hasRows(outputOf[i])) {
            window.extend(output, 0, output.shape[1].toInt(), genuineRows(outputOf[i]))
        } else {
            val batch = inputs[inputOf[i]].shape[0].toInt()
            window.extend(output, (rules[i].row ?: 0) * batch, 1, 1)
        }
        inputs[inputOf[i]] = window.view()
    }

    private fun limited(
        rule: StateRule,
        count: Long,
    ): Long = minOf(count, rule.limit?.toLong() ?: count)

    private fun place(output: String?): Int = contract.outputs.indexOfFirst { it.name == output }
}
