package org.deploybias.bundle

import kotlinx.serialization.Serializable
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.double
import kotlinx.serialization.json.jsonArray
import kotlinx.serialization.json.jsonObject
import kotlinx.serialization.json.jsonPrimitive
import java.io.File
import java.util.Locale
import kotlin.math.abs

/**
 * One graph on one backend against the eager outputs that the bundle holds.
 *
 * @property maxAbsError the largest difference over every output of every step; null is NaN or infinity.
 * @property overLimit that difference over what is allowed there, the worst output; at most 1 passes.
 * @property problem why it could not be checked, or where it is off.
 */
@Serializable
data class ProofRow(
    val graph: String,
    val backend: String,
    val steps: Int,
    val maxAbsError: Double?,
    val overLimit: Double?,
    val passed: Boolean,
    val medianMs: Double,
    val percentile95Ms: Double,
    val delegates: List<String>,
    val problem: String? = null,
)

/** What was proven, where. */
@Serializable
data class ProofReport(
    val device: String,
    val runtime: String,
    val exporter: Map<String, String>,
    val weightsSha256: String,
    val rows: List<ProofRow>,
    val cancelled: Boolean,
) {
    val passed: Boolean get() = !cancelled && rows.isNotEmpty() && rows.all { it.passed }

    fun toJson(): String = pretty.encodeToString(serializer(), this)

    private companion object {
        val pretty = Json { prettyPrint = true }
    }
}

/**
 * Runs the stored rollouts of a bundle on a backend, each carrying its own state, and compares every
 * output of every step with eager's.
 *
 * What may differ is the budget of `deploy-bias verify` for the same case, which is a distance to
 * float64, and eager's own distance to it, both from parity.json.
 */
class Proof(
    private val bundle: Bundle,
    private val backend: Backend,
) {
    private val vectors = bundle.tensors(bundle.manifest.vectors)
    private val limits = readLimits()

    /**
     * Proves every graph.
     *
     * @param progress told the name of each graph, and asked before each step whether to go on.
     */
    fun run(
        device: String,
        progress: (graph: String) -> Boolean = { true },
    ): ProofReport {
        val rows = ArrayList<ProofRow>()
        var cancelled = false
        Graphs.load(bundle, backend).use { graphs ->
            for (graph in graphs.all) {
                val row = prove(graph, progress)
                cancelled = row == null
                rows += row ?: break
            }
        }
        return ProofReport(
            device,
            "${backend.name} ${backend.version}",
            bundle.manifest.exporter,
            bundle.manifest.weights.sha256,
            rows,
            cancelled,
        )
    }

    /** Null if it was cancelled. */
    private fun prove(
        graph: Graph,
        progress: (String) -> Boolean,
    ): ProofRow? {
        val contract = graph.contract
        val cases =
            vectors.keys
                .filter { it.startsWith("${contract.name}/") }
                .groupBy { it.split("/")[1] }
        val times = ArrayList<Double>()
        var worst = 0.0
        var over = 0.0
        var problem: String? = if (cases.isEmpty()) "no test vectors for ${contract.name}; export again." else null
        try {
            for (case in cases.keys) {
                State(graph).use { rollout ->
                    for (step in 0 until stepsOf(contract, case)) {
                        if (!progress(contract.name)) return null
                        for (spec in contract.statelessInputs) {
                            val stored = vectors.getValue("${contract.name}/$case/${spec.name}")
                            feed(rollout.inputs[contract.inputIndex(spec.name)], stored, step, spec.name)
                        }
                        times += timed(rollout)
                        for ((index, spec) in contract.outputs.withIndex()) {
                            val wanted = vectors.getValue("${contract.name}/$case/${spec.name}")
                            val limit = limits.getValue("${contract.name}/$case/${spec.name}")
                            val off = distance(rollout.outputs[index], rollout.genuineRows(index), wanted, step)
                            if (off > worst) worst = off
                            if (!(off / limit <= over)) {
                                over = off / limit
                                if (!(over <= 1)) {
                                    val sizes = String.format(Locale.ROOT, "off by %.2g, allowed %.2g", off, limit)
                                    problem = "case '$case', step $step, ${spec.name}: $sizes"
                                }
                            }
                        }
                        rollout.advance()
                    }
                    while (times.size < LEAST_TIMES) times += timed(rollout)
                }
            }
        } catch (error: DeployBiasError) {
            problem = error.message
        } catch (error: IndexOutOfBoundsException) {
            problem = "the test vectors do not fit the contract (${error.message}); export again."
        } catch (error: NoSuchElementException) {
            problem = "parity.json or the test vectors lack something (${error.message}); export again."
        }
        times.sort()
        return ProofRow(
            contract.name,
            backend.name,
            cases.keys.sumOf { stepsOf(contract, it) },
            worst.takeIf { it.isFinite() },
            over.takeIf { it.isFinite() },
            problem == null,
            percentile(times, 0.5),
            percentile(times, 0.95),
            graph.session.delegates(contract.name),
            problem,
        )
    }

    private fun stepsOf(
        contract: GraphContract,
        case: String,
    ): Int = vectors.getValue("${contract.name}/$case/${contract.outputs[0].name}").shape[0].toInt()

    /** Sets an input to one step of stored ones, which have the steps along their first axis. */
    private fun feed(
        input: Tensor,
        stored: Tensor,
        step: Int,
        name: String,
    ) {
        if (stored.dtype != input.dtype || stored.size % input.size != 0 || step * input.size >= stored.size) {
            throw BundleError("test vectors: $name does not fit its contract; export again.")
        }
        input.copy(stored, step * input.size, 0, input.size)
    }

    /** The largest difference of an output from one step of stored ones; only what is genuine counts. */
    private fun distance(
        output: Tensor,
        rows: Int?,
        stored: Tensor,
        step: Int,
    ): Double {
        val width = if (rows == null) output.size else output.size / (output.shape[0] * output.shape[1]).toInt()
        var worst = 0.0
        for (i in 0 until output.size) {
            if (rows != null && i / width % output.shape[1] >= rows) continue
            val wanted = number(stored, step * output.size + i)
            val found = number(output, i)
            val off = if (wanted == found) 0.0 else abs(found - wanted)
            if (!(off <= worst)) worst = if (off.isNaN()) Double.POSITIVE_INFINITY else off
        }
        return worst
    }

    private fun number(
        tensor: Tensor,
        at: Int,
    ): Double = if (tensor.dtype == DType.INT64) tensor.longs.get(at).toDouble() else tensor.floats.get(at).toDouble()

    private fun timed(rollout: State): Double {
        val begin = System.nanoTime()
        rollout.run()
        return (System.nanoTime() - begin) / 1e6
    }

    private fun readLimits(): Map<String, Double> {
        val path = File(bundle.folder, "parity.json")
        if (!path.isFile) throw BundleError("$path: missing; export again.")
        val found = HashMap<String, Double>()
        val results =
            try {
                Json
                    .parseToJsonElement(path.readText())
                    .jsonObject
                    .getValue("results")
                    .jsonArray
            } catch (error: RuntimeException) {
                val why =
                    error.message
                        .orEmpty()
                        .lineSequence()
                        .first()
                throw BundleError("$path: no parity report ($why); export again.", error)
            }
        for (result in results.map { it.jsonObject }) {
            if (result.text("backend") != backend.name || result.text("precision") != "fp32") continue
            for (case in result.getValue("cases").jsonArray.map { it.jsonObject }) {
                val name = case.text("case").removePrefix("stored ")
                if (name == case.text("case")) continue
                val limit = case.number("budget") + case.number("eager_error")
                found["${result.text("graph")}/$name/${case.text("output")}"] = limit
            }
        }
        return found
    }

    private fun JsonObject.text(name: String) = getValue(name).jsonPrimitive.content

    private fun JsonObject.number(name: String) = getValue(name).jsonPrimitive.double

    private fun percentile(
        sorted: List<Double>,
        part: Double,
    ): Double = if (sorted.isEmpty()) 0.0 else sorted[((sorted.size - 1) * part).toInt()]

    private companion object {
        /** A graph with few steps is timed by running the last one again. */
        const val LEAST_TIMES = 20
    }
}
