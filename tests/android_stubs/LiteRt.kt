package com.google.ai.edge.litert

import android.content.res.AssetManager
import java.util.concurrent.ConcurrentHashMap

class LiteRtException(message: String) : Exception(message)

enum class Accelerator { NONE, CPU, GPU, NPU }

/** Its companion knows what is open: a handle that is not closed leaks. */
abstract class JniHandle internal constructor() : AutoCloseable {
    init {
        open += this
    }

    final override fun close() {
        check(open.remove(this)) { "Closed twice." }
    }

    protected fun assertNotDestroyed() = check(this in open) { "Closed." }

    internal companion object {
        val open: MutableSet<JniHandle> = ConcurrentHashMap.newKeySet()
    }
}

class TensorBuffer internal constructor(size: Int) : JniHandle() {
    internal var data = FloatArray(size)

    @Throws(LiteRtException::class)
    fun writeFloat(data: FloatArray) {
        assertNotDestroyed()
        check(data.size == this.data.size) { "Another size." }
        this.data = data
    }

    @Throws(LiteRtException::class)
    fun readFloat(): FloatArray {
        assertNotDestroyed()
        return data
    }
}

class Environment private constructor() : JniHandle()

/** Computes [network] of its file's name and the input, on the CPU. */
class CompiledModel private constructor(private val file: String) : JniHandle() {
    data class CpuOptions(
        val numThreads: Int? = null,
        val xnnPackFlags: Int? = null,
        val xnnPackWeightCachePath: String? = null,
    )

    class Options(internal val accelerators: Set<Accelerator>) {
        constructor(vararg accelerators: Accelerator) : this(setOf(*accelerators))

        var cpuOptions: CpuOptions? = null

        companion object {
            @JvmStatic val CPU = Options(Accelerator.CPU)
        }
    }

    @Throws(LiteRtException::class)
    fun createInputBuffers(signatureIndex: Int = 0): List<TensorBuffer> =
        listOf(TensorBuffer(inputs))

    @Throws(LiteRtException::class)
    fun createOutputBuffers(signatureIndex: Int = 0): List<TensorBuffer> =
        listOf(TensorBuffer(1))

    @Throws(LiteRtException::class)
    fun run(
        inputs: List<TensorBuffer>,
        outputs: List<TensorBuffer>,
        signatureIndex: Int = 0,
    ) {
        assertNotDestroyed()
        threads += Thread.currentThread()
        outputs.single().data = network(file, inputs.single().data)
    }

    companion object {
        internal var inputs = 0
        internal var hasGpu = false
        internal var network: (String, FloatArray) -> FloatArray = { _, it -> it }
        internal val threads = mutableSetOf<Thread>()

        @Throws(LiteRtException::class)
        fun create(
            assetManager: AssetManager,
            assetName: String,
            options: Options = Options.CPU,
            optionalEnv: Environment? = null,
        ): CompiledModel {
            assetManager.open(assetName)
            if (Accelerator.GPU in options.accelerators && !hasGpu) {
                throw LiteRtException("No GPU.")
            }
            return CompiledModel(assetName)
        }
    }
}
