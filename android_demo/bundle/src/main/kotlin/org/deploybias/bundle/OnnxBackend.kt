package org.deploybias.bundle

import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OnnxValue
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtException
import ai.onnxruntime.OrtSession
import java.io.File

/** ONNX Runtime; the same classes on a phone and on a desktop. */
class OnnxBackend : Backend {
    // Loads the native library: when it is first needed, not when the app starts.
    private val environment by lazy { OrtEnvironment.getEnvironment() }

    override val name = "onnx"
    override val exporter = "onnxruntime"
    override val version: String get() = environment.version

    override fun open(
        data: ByteArray,
        path: File,
        exportedWith: String,
    ): Session =
        try {
            OnnxSession(environment, data)
        } catch (error: OrtException) {
            throw BundleError(
                "$path: ONNX Runtime $version cannot load it (${error.message}); it was exported with $exportedWith. " +
                    "Export again.",
                error,
            )
        }
}

private class OnnxSession(
    private val environment: OrtEnvironment,
    data: ByteArray,
) : Session {
    private val session: OrtSession

    // Kept from call to call: a step makes no maps.
    private val inputs = LinkedHashMap<String, OnnxTensor>()
    private val outputs = LinkedHashMap<String, OnnxValue>()

    init {
        OrtSession.SessionOptions().use { options ->
            // A step is too short to share out, and threads that wait would spin.
            options.setIntraOpNumThreads(1)
            session = environment.createSession(data, options)
        }
    }

    override val label: String? = session.metadata.customMetadata["deploy_bias"]

    @Synchronized
    override fun run(
        graph: GraphContract,
        inputs: Array<Tensor>,
        outputs: Array<Tensor>,
    ) {
        for (i in inputs.indices) this.inputs[graph.inputs[i].name] = handle(inputs[i])
        for (i in outputs.indices) this.outputs[graph.outputs[i].name] = handle(outputs[i])
        try {
            session.run(this.inputs, this.outputs).close()
        } catch (error: OrtException) {
            throw BackendError("graph '${graph.name}': ONNX Runtime failed: ${error.message}.", error)
        }
    }

    private fun handle(tensor: Tensor): OnnxTensor {
        (tensor.handle as? OnnxTensor)?.let { return it }
        val made =
            when (tensor.dtype) {
                DType.FLOAT32 -> OnnxTensor.createTensor(environment, tensor.floats, tensor.shape)
                DType.INT64 -> OnnxTensor.createTensor(environment, tensor.longs, tensor.shape)
            }
        tensor.handle = made
        return made
    }

    override fun close() = session.close()
}
