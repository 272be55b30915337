package kerasnonconvex.compare

import android.content.res.AssetManager
import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel

/**
 * A network on one accelerator, with its buffers; to be closed, and used by one
 * thread only.
 *
 * The accelerator stands alone in the options: given with the CPU as a second
 * choice, a network that the GPU refuses would silently run on the CPU.
 */
class Classifier(assets: AssetManager, file: String, accelerator: Accelerator) :
    AutoCloseable {
    private val model = CompiledModel.create(assets, file, options(accelerator))
    private val inputs = model.createInputBuffers()
    private val outputs = model.createOutputBuffers()

    fun classify(input: FloatArray): FloatArray {
        inputs.single().writeFloat(input)
        return run()
    }

    /** Runs on the last input; reading the scores waits for the accelerator. */
    fun run(): FloatArray {
        model.run(inputs, outputs)
        return outputs.single().readFloat()
    }

    override fun close() {
        (inputs + outputs).forEach { it.close() }
        model.close()
    }

    companion object {
        /** One thread, as the command line measures. */
        private fun options(accelerator: Accelerator) =
            CompiledModel.Options(accelerator).apply {
                if (accelerator == Accelerator.CPU) {
                    cpuOptions = CompiledModel.CpuOptions(numThreads = 1)
                }
            }
    }
}
