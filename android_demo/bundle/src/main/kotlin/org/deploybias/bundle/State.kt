package org.deploybias.bundle

import java.io.Closeable

/**
 * One stream of a graph, its state carried from step to step by the contract, in one thread: the one
 * interpreter of state in Kotlin, deploy_bias.runtime.state in Python.
 *
 * A step: set the [inputs] that are not state, [run], read the [outputs], [advance]. It allocates
 * nothing once the windows have gone round.
 */
class State(
    private val graph: Graph,
) : Closeable {
    private val contract = graph.contract
    private val rules = contract.state.toTypedArray()

    init {
        val inputs = contract.inputs.map { it.name }
        val outputs = contract.outputs.map { it.name }
        for (rule in rules) {
            if (rule.input !in inputs || (rule.output != null && rule.output !in outputs)) {
                throw ContractError(
                    "graph '${contract.name}': the state '${rule.input}' is made of '${rule.output}', and the " +
                        "graph has the inputs ${inputs.joinToString(", ")} and the outputs " +
                        "${outputs.joinToString(", ")}; export again.",
                )
            }
        }
    }

    /** In the order of the contract; an input that is not state may be put in place of the one here. */
    val inputs: Array<Tensor> = graph.newInputs()

    /** In the order of the contract; the next run overwrites them. */
    val outputs: Array<Tensor> = graph.newOutputs()

    private val inputOf = IntArray(rules.size) { contract.inputIndex(rules[it].input) }
    private val outputOf = IntArray(rules.size) { contract.outputIndex(rules[it].output) }
    private val windows = Array(rules.size) { if (rules[it] is Append) Window(inputs[inputOf[it]]) else null }

    // Where the input lies that says how many rows of an output are genuine.
    private val rowsOf = IntArray(outputs.size) { contract.inputIndex(contract.outputs[it].rows?.input) }

    init {
        reset()
    }

    /** Runs the graph; the state stays as it is. */
    fun run() = graph.run(inputs, outputs)

    /** Goes on to the state after the last run. */
    fun advance() {
        for (i in rules.indices) {
            val input = inputs[inputOf[i]]
            when (val rule = rules[i]) {
                is Replace -> input.copy(outputs[outputOf[i]])
                is Append -> windows[i]?.extend(outputs[outputOf[i]], rule.row, genuineRows(outputOf[i]))
                is Count -> input.fill(rule.after(input.longs.get(0), genuineRows(outputOf[i])).toDouble())
            }
        }
        placeWindows()
    }

    /** How many rows of axis 1 of an output are genuine by the inputs; null where no `rows` says it. */
    fun genuineRows(output: Int): Int? {
        val rows = contract.outputs.getOrNull(output)?.rows ?: return null
        return rows.count(inputs[rowsOf[output]].longs.get(0))
    }

    /** The first state again. */
    fun reset() {
        for (i in rules.indices) {
            when (val rule = rules[i]) {
                is Replace -> inputs[inputOf[i]].fill(rule.initial)
                is Append -> windows[i]?.clear()
                is Count -> inputs[inputOf[i]].fill(rule.initial.toDouble())
            }
        }
        placeWindows()
    }

    /** Takes over the state, and the outputs, of another stream of the same graph. */
    fun copy(other: State) {
        for (i in rules.indices) {
            val window = windows[i]
            if (window == null) inputs[inputOf[i]].copy(other.inputs[inputOf[i]]) else window.copy(other.windows[i]!!)
        }
        for (i in outputs.indices) outputs[i].copy(other.outputs[i])
        placeWindows()
    }

    private fun placeWindows() {
        for (i in rules.indices) windows[i]?.let { inputs[inputOf[i]] = it.view() }
    }

    override fun close() {
        (inputs + outputs).forEach(Tensor::close)
        windows.forEach { it?.close() }
    }
}
