package org.deploybias.bundle

import java.io.Closeable

/** The chunks of an utterance through the encoder, in one thread. Memory is two windows each. */
class EncoderStream(
    private val graph: Graph,
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
    private val leftContext = contract.int("left_context")

    // The contract has the state in the order of the inputs: valid, windows.
    private val states = contract.state.drop(1)
    private val rowsOf = states.map { state -> contract.outputs.indexOfFirst { it.name == state.output } }
    private val windows = states.map { Window(contract.input(it.input)) }
    private val inputs = graph.newInputs()
    private val outputs = graph.newOutputs()
    private var valid = 0

    /** The encoder frames (1, T, D) of the last chunk; the first ones are genuine. */
    val encoderOut: Tensor get() = outputs[0]

    /** Encodes the next chunk; returns how many encoder frames came of it. */
    fun accept(chunk: FeatureChunk): Int {
        val count = encoderFrames(contract, chunk.frames)
        if (count == 0) return 0
        inputs[0] = chunk.features
        inputs[1].longs.put(0, chunk.frames.toLong())
        inputs[2].longs.put(0, valid.toLong())
        for (i in windows.indices) inputs[3 + i] = windows[i].view()
        graph.run(inputs, outputs)
        for (i in windows.indices) windows[i].extend(outputs[rowsOf[i]], 0, count)
        valid = minOf(valid + count, leftContext)
        return count
    }

    override fun close() {
        (inputs + outputs).forEach(Tensor::close)
        windows.forEach(Window::close)
    }
}

/** How many encoder frames come of a chunk with so many feature frames. */
internal fun encoderFrames(
    encoder: GraphContract,
    featureFrames: Int,
): Int = maxOf(Math.floorDiv(featureFrames - encoder.int("offset"), encoder.int("stride")) - 2, 0)
