package org.deploybias.bundle

import kotlinx.serialization.json.int
import kotlinx.serialization.json.jsonObject
import kotlinx.serialization.json.jsonPrimitive
import java.io.Closeable

/** The decoder of a bundle; hypotheses share it. */
class Decoder(
    internal val graph: Graph,
) {
    private val contract = graph.contract

    init {
        if (contract.kind != "decoder") {
            throw ContractError("graph '${contract.name}' is no decoder; take graphs[\"decoder\"] of Graphs.load.")
        }
        val batch = contract.input("label").sizes()[0]
        if (batch != 1L) {
            throw ContractError(
                "the decoder takes $batch hypotheses a call, expected 1; export with --batch 1.",
            )
        }
    }

    private val options = contract.module.getValue("options").jsonObject
    internal val context = contract.int("context")
    internal val start =
        contract.module
            .getValue("start")
            .jsonPrimitive.content
    internal val chunkSize = options["chunk_size"]?.jsonPrimitive?.int ?: -1

    val vocabSize: Int = options.getValue("vocab_size").jsonPrimitive.int

    // The contract has the state in the order of the inputs: valid, ema_state, windows.
    internal val windows = contract.state.drop(2)
    internal val firstValid = contract.state[0].initial
    internal val rowsOf = windows.map { state -> contract.outputs.indexOfFirst { it.name == state.output } }

    /** A hypothesis before its first label, which is blank. */
    fun start(): Hypothesis = Hypothesis(this)
}

/**
 * What has been fed to a decoder, label by label, in one thread. A step allocates nothing once its
 * windows have gone round: memory and time stay the same however many labels come.
 */
class Hypothesis internal constructor(
    private val decoder: Decoder,
) : Closeable {
    private val contract = decoder.graph.contract
    private val windows = decoder.windows.map { Window(contract.input(it.input)) }
    private val inputs = decoder.graph.newInputs()
    private val outputs = decoder.graph.newOutputs()
    private var closed = false
    private var valid = 0

    init {
        reset()
    }

    /** The decoder output (1, D) after the last label; the next step overwrites it. */
    val decoderOut: Tensor get() = outputs[0]

    /** Feeds a label. */
    fun step(label: Int) {
        if (closed) throw ContractError("the hypothesis is closed; start another one.")
        if (label !in 0 until decoder.vocabSize) {
            throw ContractError("label must be 0 to ${decoder.vocabSize - 1}, got $label.")
        }
        inputs[LABEL].longs.put(0, label.toLong())
        inputs[VALID].longs.put(0, valid.toLong())
        for (i in windows.indices) inputs[WINDOWS + i] = windows[i].view()
        decoder.graph.run(inputs, outputs)
        for (i in windows.indices) {
            windows[i].extend(outputs[decoder.rowsOf[i]], decoder.windows[i].row ?: 0, 1)
        }
        val state = inputs[EMA_STATE]
        inputs[EMA_STATE] = outputs[NEXT_EMA_STATE]
        outputs[NEXT_EMA_STATE] = state
        valid = nextValid(valid, decoder.context, decoder.chunkSize, decoder.start)
    }

    /** Another hypothesis that has been fed the same labels. */
    fun fork(): Hypothesis {
        val other = Hypothesis(decoder)
        other.valid = valid
        other.inputs[EMA_STATE].copy(inputs[EMA_STATE])
        other.decoderOut.copy(decoderOut)
        for (i in windows.indices) other.windows[i].copy(windows[i])
        return other
    }

    /** Forgets all labels. */
    fun reset() {
        valid = decoder.firstValid.toInt()
        inputs[EMA_STATE].fill(0)
        windows.forEach(Window::clear)
    }

    override fun close() {
        closed = true
        (inputs + outputs).forEach(Tensor::close)
        windows.forEach(Window::close)
    }

    private companion object {
        const val LABEL = 0
        const val VALID = 1
        const val EMA_STATE = 2
        const val WINDOWS = 3
        const val NEXT_EMA_STATE = 1
    }
}
