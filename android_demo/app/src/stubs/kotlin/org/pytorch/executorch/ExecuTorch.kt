package org.pytorch.executorch

/*
 * The shape of what the app calls of org.pytorch:executorch-android, and nothing behind it: the Maven
 * build compiles and never runs it, where the AAR cannot be had. Gradle leaves it out and takes the AAR.
 */

class Module private constructor() {
    fun execute(
        methodName: String,
        vararg inputs: EValue,
    ): Array<EValue> = absent()

    fun getMethodMetadata(name: String): MethodMetadata = absent()

    fun destroy(): Unit = absent()

    companion object {
        const val LOAD_MODE_MMAP = 1

        @JvmStatic
        fun load(
            modelPath: String,
            loadMode: Int,
            numThreads: Int,
        ): Module = absent()
    }
}

class MethodMetadata private constructor() {
    val backends: Array<String> get() = absent()
}

class EValue private constructor() {
    fun toTensor(): Tensor = absent()

    fun toStr(): String = absent()

    companion object {
        @JvmStatic
        fun from(tensor: Tensor): EValue = absent()
    }
}

class Tensor private constructor() {
    val dataAsFloatArray: FloatArray get() = absent()

    companion object {
        @JvmStatic
        fun fromBlob(
            data: java.nio.FloatBuffer,
            shape: LongArray,
        ): Tensor = absent()

        @JvmStatic
        fun fromBlob(
            data: java.nio.LongBuffer,
            shape: LongArray,
        ): Tensor = absent()
    }
}

private fun absent(): Nothing = throw UnsatisfiedLinkError("executorch-android is not in this build")
