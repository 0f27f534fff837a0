package org.deploybias.bundle

import java.io.Closeable

/** The chunks of an utterance through the encoder, in one thread. Memory is two windows each. */
class EncoderStream(
    graph: Graph,
) : Closeable {
    internal val settings: EncoderSettings
    private val state: State
    private val features: Int
    private val frames: Int

    init {
        val contract = graph.contract
        if (contract.kind != "encoder") {
            throw ContractError(
                "graph '${contract.name}' is no streaming encoder; take graphs[\"encoder\"] of Graphs.load.",
            )
        }
        settings = contract.settings(EncoderSettings.serializer())
        val (features, frames) = contract.statelessInputs.map { contract.inputIndex(it.name) }
        this.features = features
        this.frames = frames
        state = State(graph)
    }

    /** The encoder frames (1, T, D) of the last chunk; the first ones are genuine. */
    val encoderOut: Tensor get() = state.outputs[0]

    /** Encodes the next chunk; returns how many encoder frames came of it. */
    fun accept(chunk: FeatureChunk): Int {
        state.inputs[features] = chunk.features
        state.inputs[frames].longs.put(0, chunk.frames.toLong())
        val count = checkNotNull(state.genuineRows(0)) { "the encoder's output has no rows" }
        if (count == 0) return 0
        state.run()
        state.advance()
        return count
    }

    override fun close() = state.close()
}
