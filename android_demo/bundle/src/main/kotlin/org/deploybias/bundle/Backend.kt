package org.deploybias.bundle

import java.io.Closeable
import java.io.File

/** A runtime that runs the artifacts of a bundle: the one place where runtimes differ. */
interface Backend {
    /** Its name in the manifest. */
    val name: String

    /** What the manifest calls the package that exported for it. */
    val exporter: String

    /** The version that runs here. */
    val version: String

    /**
     * Loads an artifact.
     *
     * @param exportedWith the version of [exporter] that wrote it, for errors.
     */
    fun open(
        data: ByteArray,
        path: File,
        exportedWith: String,
    ): Session
}

/** An artifact that is loaded. */
interface Session : Closeable {
    /** The label that it carries. */
    val label: String?

    /**
     * Runs a graph.
     *
     * @param inputs in the order of its contract.
     * @param outputs likewise; they are overwritten.
     */
    fun run(
        graph: GraphContract,
        inputs: Array<Tensor>,
        outputs: Array<Tensor>,
    )

    /** The delegates that a graph is run by; empty if the runtime has none. */
    fun delegates(graph: String): List<String> = emptyList()
}
