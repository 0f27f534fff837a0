package org.deploybias.bundle

import kotlinx.serialization.DeserializationStrategy
import kotlinx.serialization.ExperimentalSerializationApi
import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable
import kotlinx.serialization.json.JsonClassDiscriminator
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive
import kotlinx.serialization.json.int

const val FORMAT = "deploy_bias"
const val FORMAT_VERSION = 2

/** How many rows of an output's axis 1 are genuine, by the value n of an input: max((n - offset) / stride, 0). */
@Serializable
data class Rows(
    val input: String,
    val offset: Int,
    val stride: Int,
) {
    fun count(value: Long): Int = maxOf(Math.floorDiv(value - offset, stride.toLong()), 0L).toInt()
}

/**
 * One input or output. A size that the caller chooses is a JSON object; a phone has none of them.
 *
 * @property maximum the largest number that an integer input may hold; the least is 0 then.
 * @property rows of an output whose last rows are not always genuine.
 */
@Serializable
data class TensorSpec(
    val name: String,
    val dtype: DType,
    val shape: List<JsonElement>,
    val maximum: Int? = null,
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

/** The eager module that a graph computes, the prefix of its weights, and ESPnet's options. */
@Serializable
data class ModuleSpec(
    val type: String,
    val weights: String,
    val options: JsonObject = JsonObject(emptyMap()),
)

/** One input that the host carries from step to step, and how its next value is made; [State] does it. */
@OptIn(ExperimentalSerializationApi::class)
@Serializable
@JsonClassDiscriminator("update")
sealed interface StateRule {
    val input: String
    val output: String?
}

/** The next value is the output. */
@Serializable
@SerialName("replace")
data class Replace(
    override val input: String,
    override val output: String,
    @SerialName("batch_axis") val batchAxis: Int = 0,
    val initial: Double = 0.0,
) : StateRule

/** The next window is this one without its oldest rows, the genuine rows of the output (or of its [row]) behind. */
@Serializable
@SerialName("append")
data class Append(
    override val input: String,
    override val output: String,
    val row: Int? = null,
) : StateRule

/** The number of valid rows of the windows. Where it comes to [restartAt] it is [initial] again. */
@Serializable
@SerialName("count")
data class Count(
    override val input: String,
    override val output: String? = null,
    val initial: Int = 0,
    val limit: Int,
    @SerialName("restart_at") val restartAt: Int? = null,
) : StateRule {
    /** The number after [valid], when the windows grow by [rows], or by 1. */
    fun after(
        valid: Long,
        rows: Int?,
    ): Int {
        val next = valid.toInt() + (rows ?: 1)
        return if (next == restartAt) initial else minOf(next, limit)
    }
}

/** What the host of a frontend must know; sizes in samples. */
@Serializable
data class FrontendSettings(
    val fs: Int,
    @SerialName("n_fft") val nFft: Int,
    @SerialName("hop_length") val hopLength: Int,
    @SerialName("decoding_window") val decodingWindow: Int,
    @SerialName("subsampling_factor") val subsamplingFactor: Int,
)

/** What the host of an encoder must know. An encoder frame sees stride + offset feature frames. */
@Serializable
data class EncoderSettings(
    val stride: Int,
    val offset: Int,
    @SerialName("left_context") val leftContext: Int,
)

/** One graph: its name, the eager module that it computes, its inputs, outputs and state in order. */
@Serializable
data class GraphContract(
    val name: String,
    val kind: String,
    val module: ModuleSpec,
    val settings: JsonObject = JsonObject(emptyMap()),
    val inputs: List<TensorSpec>,
    val outputs: List<TensorSpec>,
    val state: List<StateRule> = emptyList(),
) {
    /** The inputs that are not state. */
    val statelessInputs: List<TensorSpec> get() = inputs.filter { spec -> state.none { it.input == spec.name } }

    /** Where an input of that name lies, or -1. */
    fun inputIndex(name: String?): Int = inputs.indexOfFirst { it.name == name }

    /** Where an output of that name lies, or -1. */
    fun outputIndex(name: String?): Int = outputs.indexOfFirst { it.name == name }

    /** The settings as a value of their kind. */
    fun <T> settings(kind: DeserializationStrategy<T>): T = decode(kind, settings, "graph '$name': settings")
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
    @SerialName("float_layers") val floatLayers: Map<String, Map<String, String>> = emptyMap(),
    val options: JsonObject,
    val weights: PlainFile,
    val vectors: PlainFile,
    val limits: PlainFile? = null,
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
