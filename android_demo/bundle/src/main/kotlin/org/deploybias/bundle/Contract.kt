package org.deploybias.bundle

import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive
import kotlinx.serialization.json.int
import kotlinx.serialization.json.jsonPrimitive

const val FORMAT = "deploy_bias"
const val FORMAT_VERSION = 2

/** One input or output. A size that the caller chooses is a JSON object; a phone has none of them. */
@Serializable
data class TensorSpec(
    val name: String,
    val dtype: DType,
    val shape: List<JsonElement>,
    val maximum: Long? = null,
    val rows: Rows? = null,
) {
    /** The sizes of a static tensor. */
    fun sizes(): LongArray =
        LongArray(shape.size) { axis ->
            val size =
                shape[axis] as? JsonPrimitive
                    ?: throw ContractError(
                        "$name has a dynamic shape; expected static ones, export without --dynamic.",
                    )
            size.int.toLong()
        }
}

@Serializable
enum class DType(
    val bytes: Int,
) {
    @SerialName("float32")
    FLOAT32(4),

    @SerialName("int64")
    INT64(8),
}

/** How many rows of an output's axis 1 are genuine, by the value of an input. */
@Serializable
data class Rows(
    val input: String,
    val offset: Int,
    val stride: Int,
) {
    fun count(value: Int): Int = maxOf(Math.floorDiv(value - offset, stride), 0)
}

/** One input that the host carries from step to step, and how its next value is made; see [State]. */
@Serializable
data class StateRule(
    val update: Update,
    val input: String,
    val output: String? = null,
    val row: Int? = null,
    @SerialName("batch_axis") val batchAxis: Int = 0,
    val initial: Double = 0.0,
    val limit: Int? = null,
    @SerialName("restart_at") val restartAt: Int? = null,
) {
    @Serializable
    enum class Update {
        /** The next value is the output. */
        @SerialName("replace")
        REPLACE,

        /** The window without its oldest rows, and the genuine rows of the output behind. */
        @SerialName("append")
        APPEND,

        /** The number of valid rows of the windows. */
        @SerialName("count")
        COUNT,
    }
}

/** The eager module that a graph computes. */
@Serializable
data class ModuleSpec(
    val type: String,
    val weights: String,
    val options: JsonObject,
)

/** One graph: its name, the eager module that it computes, its inputs, outputs and state in order. */
@Serializable
data class GraphContract(
    val name: String,
    val kind: String,
    val module: ModuleSpec,
    val settings: JsonObject,
    val inputs: List<TensorSpec>,
    val outputs: List<TensorSpec>,
    val state: List<StateRule>,
) {
    fun input(name: String): TensorSpec = inputs.first { it.name == name }

    fun output(name: String): TensorSpec = outputs.first { it.name == name }

    /** A whole number of the settings. */
    fun int(field: String): Int = settings.getValue(field).jsonPrimitive.int
}

/** What every artifact carries inside, so that a lone file explains itself. */
@Serializable
data class Label(
    val format: String,
    @SerialName("format_version") val formatVersion: Int,
    val exporter: Map<String, String>,
    @SerialName("weights_sha256") val weightsSha256: String,
    val precision: String,
    val graphs: List<GraphContract>,
)

/** A file of the bundle, relative to its folder. */
interface BundleFile {
    val path: String
    val sha256: String
    val bytes: Long
}

@Serializable
data class PlainFile(
    override val path: String,
    override val sha256: String,
    override val bytes: Long,
) : BundleFile

/** Operator counts of one graph: those a delegate took and those left to the runtime. */
@Serializable
data class Operators(
    val delegated: Map<String, Int>,
    val undelegated: Map<String, Int>,
)

/** A file that a backend runs, with the contracts of the graphs in it. */
@Serializable
data class Artifact(
    override val path: String,
    override val sha256: String,
    override val bytes: Long,
    val backend: String,
    val precision: String,
    val graphs: List<GraphContract>,
    val operators: Map<String, Operators>,
) : BundleFile

/** manifest.json. */
@Serializable
data class Manifest(
    val format: String,
    @SerialName("format_version") val formatVersion: Int,
    val exporter: Map<String, String>,
    val source: Map<String, String>,
    val options: JsonObject,
    val weights: PlainFile,
    val vectors: PlainFile,
    val tokens: PlainFile?,
    @SerialName("token_type") val tokenType: String?,
    @SerialName("bpe_model") val bpeModel: PlainFile?,
    val artifacts: List<Artifact>,
) {
    /** The backends that have an artifact here, in the order they were exported. */
    val backends: List<String> get() = artifacts.map { it.backend }.distinct()

    /** The precisions that a backend has here, in the order they were exported. */
    fun precisions(backend: String): List<String> =
        artifacts.filter { it.backend == backend }.map { it.precision }.distinct()

    /** The label that an artifact must carry. */
    fun label(artifact: Artifact): Label =
        Label(format, formatVersion, exporter, weights.sha256, artifact.precision, artifact.graphs)
}
