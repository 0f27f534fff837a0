package org.deploybias.app

import org.deploybias.bundle.Backend
import org.deploybias.bundle.BackendError
import org.deploybias.bundle.BundleError
import org.deploybias.bundle.DType
import org.deploybias.bundle.GraphContract
import org.deploybias.bundle.Session
import org.deploybias.bundle.Tensor
import org.pytorch.executorch.EValue
import org.pytorch.executorch.Module
import java.io.File
import org.pytorch.executorch.Tensor as ExecuTorchTensor

/** ExecuTorch: the one class that calls its Android library. */
class ExecuTorchBackend : Backend {
    override val name = "executorch"
    override val exporter = "executorch"
    override val version = BuildVersions.EXECUTORCH

    /** Loads the file itself: ExecuTorch maps it, so [data] served to check its hash alone. */
    override fun open(
        data: ByteArray,
        path: File,
        exportedWith: String,
    ): Session =
        try {
            ExecuTorchSession(Module.load(path.path, Module.LOAD_MODE_MMAP, 1), path, version)
        } catch (error: LinkageError) {
            throw BackendError("ExecuTorch's native library is not on this device (${error.message}).", error)
        } catch (error: RuntimeException) {
            // It gives a bare number. Most often the file is newer than the library.
            throw BundleError(
                "$path: exported with executorch $exportedWith, and $version, which runs here, cannot load it " +
                    "(${error.message}). Take executorch-android $exportedWith, or export with executorch $version.",
                error,
            )
        }
}

private class ExecuTorchSession(
    private val module: Module,
    private val path: File,
    private val version: String,
) : Session {
    // Kept from call to call, by graph.
    private val values = HashMap<String, Array<EValue?>>()

    override val label: String? =
        try {
            module.execute(LABEL).firstOrNull()?.toStr()
        } catch (_: RuntimeException) {
            null
        }

    @Synchronized
    override fun run(
        graph: GraphContract,
        inputs: Array<Tensor>,
        outputs: Array<Tensor>,
    ) {
        val fed = values.getOrPut(graph.name) { arrayOfNulls(inputs.size) }
        for (i in inputs.indices) fed[i] = handle(inputs[i])
        val found =
            try {
                module.execute(graph.name, *fed.requireNoNulls())
            } catch (error: RuntimeException) {
                throw BackendError(
                    "$path: ExecuTorch $version failed in graph '${graph.name}' (${error.message}).",
                    error,
                )
            }
        if (found.size != outputs.size) {
            throw BackendError("$path: graph '${graph.name}' gave ${found.size} outputs, expected ${outputs.size}.")
        }
        for (i in outputs.indices) {
            val numbers = found[i].toTensor().dataAsFloatArray
            for (at in numbers.indices) outputs[i].floats.put(at, numbers[at])
        }
    }

    override fun delegates(graph: String): List<String> = module.getMethodMetadata(graph).backends.toList()

    private fun handle(tensor: Tensor): EValue {
        (tensor.handle as? Handle)?.let { return it.value }
        val made =
            when (tensor.dtype) {
                DType.FLOAT32 -> ExecuTorchTensor.fromBlob(tensor.floats, tensor.shape)
                DType.INT64 -> ExecuTorchTensor.fromBlob(tensor.longs, tensor.shape)
            }
        return EValue.from(made).also { tensor.handle = Handle(it) }
    }

    override fun close() = module.destroy()

    private class Handle(
        val value: EValue,
    ) : AutoCloseable {
        override fun close() = Unit
    }

    private companion object {
        /** The constant method that holds the label. */
        const val LABEL = "deploy_bias"
    }
}
