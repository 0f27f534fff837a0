package org.deploybias.bundle

import kotlinx.serialization.Serializable
import kotlinx.serialization.json.Json
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
 * How far each element may be off is in the bundle, as `deploy-bias check` reads it.
 */
class Proof(
    private val bundle: Bundle,
    private val backend: Backend,
) {
    private val vectors = bundle.tensors(bundle.manifest.vectors)
    private val limits =
        bundle.manifest.limits?.let(bundle::tensors)
            ?: throw BundleError("${bundle.folder}: holds no limits to check against; export again.")

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
                            val most = compare(rollout.outputs[index], rollout.genuineRows(index), wanted, limit, step)
                            if (most.error > worst) worst = most.error
                            if (most.overLimit > over) {
                                over = most.overLimit
                                if (over > 1) problem = "case '$case', step $step, ${spec.name}: ${most.sizes}"
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
            problem = "the limits or the test vectors lack something (${error.message}); export again."
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

    /** Compares an output with one step of the stored ones; only what is genuine counts. */
    private fun compare(
        output: Tensor,
        rows: Int?,
        stored: Tensor,
        limit: Tensor,
        step: Int,
    ): Difference {
        val width = if (rows == null) output.size else output.size / (output.shape[0] * output.shape[1]).toInt()
        var error = 0.0
        var worst = Difference(0.0, 0.0, 0.0, 0.0)
        for (i in 0 until output.size) {
            if (rows != null && i / width % output.shape[1] >= rows) continue
            val at = step * output.size + i
            val wanted = number(stored, at)
            val found = number(output, i)
            // What is infinite or NaN must be so in the same places.
            if (wanted == found || (wanted.isNaN() && found.isNaN())) continue
            val off = abs(found - wanted).let { if (it.isNaN()) Double.POSITIVE_INFINITY else it }
            val allowed = number(limit, at)
            val over = if (allowed == Double.POSITIVE_INFINITY) 0.0 else off / allowed
            if (off > error) error = off
            if (over > worst.overLimit) worst = Difference(0.0, over, off, allowed)
        }
        return worst.copy(error = error)
    }

    /** error: the largest of an output. overLimit: the largest over what is allowed there, which is of `off`. */
    private data class Difference(
        val error: Double,
        val overLimit: Double,
        val off: Double,
        val allowed: Double,
    ) {
        val sizes: String get() = String.format(Locale.ROOT, "off by %.2g, allowed %.2g", off, allowed)
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

    private fun percentile(
        sorted: List<Double>,
        part: Double,
    ): Double = if (sorted.isEmpty()) 0.0 else sorted[((sorted.size - 1) * part).toInt()]

    private companion object {
        /** A graph with few steps is timed by running the last one again. */
        const val LEAST_TIMES = 20
    }
}
