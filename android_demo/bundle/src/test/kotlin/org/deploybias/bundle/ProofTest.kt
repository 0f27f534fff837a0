package org.deploybias.bundle

import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

class ProofTest {
    @Test
    fun `every graph computes what eager computed`() {
        val report = Proof(Expected.bundle, Expected.onnx).run("a JVM")
        assertTrue(report.passed, report.toJson())
        assertEquals(listOf("frontend", "encoder", "bias", "decoder", "joint"), report.rows.map { it.graph })
        assertTrue(
            report.rows.all {
                it.steps > 0 && checkNotNull(it.maxAbsError) < 1e-4 &&
                    it.medianMs <= it.percentile95Ms
            },
        )
        assertTrue("\"passed\": true" in report.toJson())
    }

    /** What a faulty graph looks like: one number of what it gives is off by one in a thousand. */
    @Test
    fun `an output that is off is shown`() {
        val off =
            object : Backend by Expected.onnx {
                override fun open(
                    data: ByteArray,
                    path: java.io.File,
                    exportedWith: String,
                ): Session {
                    val session = Expected.onnx.open(data, path, exportedWith)
                    return object : Session by session {
                        override fun run(
                            graph: GraphContract,
                            inputs: Array<Tensor>,
                            outputs: Array<Tensor>,
                        ) {
                            session.run(graph, inputs, outputs)
                            if (graph.name == "decoder") outputs[0].floats.put(5, outputs[0].floats.get(5) * 1.001f)
                        }
                    }
                }
            }
        val report = Proof(Expected.bundle, off).run("a JVM")
        assertFalse(report.passed)
        val (row) = report.rows.filterNot { it.passed }
        assertEquals("decoder", row.graph)
        assertTrue("decoder_out: off by" in row.problem.orEmpty(), row.problem)
    }

    @Test
    fun `a report of what is not finite is JSON still`() {
        val row = ProofRow("joint", "onnx", 1, null, null, false, 1.0, 1.0, emptyList(), "off by Infinity")
        assertTrue("null" in ProofReport("a JVM", "onnx", emptyMap(), "0", listOf(row), false).toJson())
    }

    @Test
    fun `a bundle without limits is named`() {
        val copy =
            kotlin.io.path
                .createTempDirectory()
                .toFile()
        Expected.bundle.folder.copyRecursively(copy)
        val manifest = java.io.File(copy, "manifest.json")
        manifest.writeText(manifest.readText().replace(Regex(""""limits": \{[^}]*\},"""), ""))
        val error =
            org.junit.jupiter.api
                .assertThrows<BundleError> { Proof(Bundle.open(copy), Expected.onnx) }
        assertTrue("holds no limits to check against; export again" in error.message.orEmpty(), error.message)
        copy.deleteRecursively()
    }

    @Test
    fun `a proof can be cancelled`() {
        var asked = 0
        val report = Proof(Expected.bundle, Expected.onnx).run("a JVM") { ++asked < 3 }
        assertFalse(report.passed)
        assertEquals(listOf("frontend"), report.rows.map { it.graph })
        assertTrue(report.cancelled)
    }
}
