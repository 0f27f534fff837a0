package org.deploybias.bundle

import java.io.Closeable

/** The decoder of a bundle, of any kind; hypotheses share it. */
class Decoder(
    internal val graph: Graph,
) {
    internal val labelIndex: Int

    val vocabSize: Int

    init {
        val contract = graph.contract
        if (contract.kind != "decoder") {
            throw ContractError("graph '${contract.name}' is no decoder; take graphs[\"decoder\"] of Graphs.load.")
        }
        val label = contract.statelessInputs.single()
        val batch = label.sizes()[0]
        if (batch != 1L) {
            throw ContractError(
                "the decoder takes $batch hypotheses a call, expected 1; export with --batch 1.",
            )
        }
        labelIndex = contract.inputIndex(label.name)
        vocabSize = checkNotNull(label.maximum) { "${label.name} has no maximum" } + 1
    }

    /** A hypothesis before its first label, which is blank. */
    fun start(): Hypothesis = Hypothesis(this)
}

/**
 * What has been fed to a decoder, label by label, in one thread. Memory and time of a step stay the
 * same however many labels come.
 */
class Hypothesis internal constructor(
    private val decoder: Decoder,
) : Closeable {
    private val state = State(decoder.graph)
    private var closed = false

    /** The decoder output (1, D) after the last label; the next step overwrites it. */
    val decoderOut: Tensor get() = state.outputs[0]

    /** Feeds a label. */
    fun step(label: Int) {
        if (closed) throw ContractError("the hypothesis is closed; start another one.")
        if (label !in 0 until decoder.vocabSize) {
            throw ContractError("label must be 0 to ${decoder.vocabSize - 1}, got $label.")
        }
        state.inputs[decoder.labelIndex].longs.put(0, label.toLong())
        state.run()
        state.advance()
    }

    /** Another hypothesis that has been fed the same labels. */
    fun fork(): Hypothesis = Hypothesis(decoder).also { it.state.copy(state) }

    /** Forgets all labels. */
    fun reset() = state.reset()

    override fun close() {
        closed = true
        state.close()
    }
}
