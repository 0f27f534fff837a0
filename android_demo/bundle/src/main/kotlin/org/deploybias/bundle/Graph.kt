package org.deploybias.bundle

import java.io.Closeable
import java.io.File

/** One graph of a bundle, on one backend. */
class Graph(
    val contract: GraphContract,
    val session: Session,
    val weightsSha256: String,
) {
    /** Runs the graph; inputs and outputs in the order of its contract, unchecked. */
    fun run(
        inputs: Array<Tensor>,
        outputs: Array<Tensor>,
    ) = session.run(contract, inputs, outputs)

    fun newInputs(): Array<Tensor> = Array(contract.inputs.size) { Tensor.zeros(contract.inputs[it]) }

    fun newOutputs(): Array<Tensor> = Array(contract.outputs.size) { Tensor.zeros(contract.outputs[it]) }
}

/** Every graph that a bundle has for one backend and precision, by name. */
class Graphs private constructor(
    private val graphs: Map<String, Graph>,
    private val sessions: List<Session>,
) : Closeable {
    val all: Collection<Graph> get() = graphs.values

    operator fun contains(name: String): Boolean = name in graphs

    operator fun get(name: String): Graph = graphs.getValue(name)

    override fun close() = sessions.forEach(Session::close)

    companion object {
        /** Loads the artifacts of a bundle, each one's hash and label checked. */
        fun load(
            bundle: Bundle,
            backend: Backend,
            precision: String = "fp32",
        ): Graphs {
            val graphs = LinkedHashMap<String, Graph>()
            val sessions = ArrayList<Session>()
            try {
                for (artifact in bundle.artifacts(backend.name, precision)) {
                    val path = File(bundle.folder, artifact.path)
                    val exportedWith = bundle.manifest.exporter[backend.exporter] ?: "another version"
                    val session = backend.open(bundle.read(artifact), path, exportedWith)
                    sessions += session
                    bundle.checkLabel(artifact, session.label)
                    for (contract in artifact.graphs) {
                        graphs[contract.name] = Graph(contract, session, bundle.manifest.weights.sha256)
                    }
                }
            } catch (error: Throwable) {
                sessions.forEach(Session::close)
                throw error
            }
            return Graphs(graphs, sessions)
        }
    }
}
