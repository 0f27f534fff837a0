package org.deploybias.bundle

import java.io.Closeable

/** The chunks of an utterance through the encoder, in one thread. Memory is two windows each. */
class EncoderStream(
    graph: Graph,
) : Closeable {
    private val contract = graph.contract

    init {
        if (contract.kind != "encoder") {
            throw ContractError(
                "graph '${contract.name}' is no streaming encoder; take graphs[\"encoder\"] of Graphs.load.",
            )
        }
    }

    internal val stride = contract.int("stride")
    internal val offset = contract.int("offset")
    private val features = contract.inputs.indexOf(contract.input("features"))
    private val frames = contract.inputs.indexOf(contract.input("frames"))
    private val state = State(graph)

    /** The encoder frames (1, T, D) of the last chunk; the first ones are genuine. */
    val encoderOut: Tensor get() = state.outputs[0]

    /** Encodes the next chunk; returns how many encoder frames came of it. */
    fun accept(chunk: FeatureChunk): Int {
        state.feed(features, chunk.features)
        state.input(frames).longs.put(0, chunk.frames.toLong())
        val count = state.genuineRows(0)
        if (count == 0) return 0
        state.run()
        state.advance()
        return count
    }

    override fun close() = state.close()
}
