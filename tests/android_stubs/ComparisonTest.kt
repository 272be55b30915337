package kerasnonconvex.compare

import android.app.Application
import android.content.ContentResolver
import android.content.res.AssetManager
import android.graphics.Bitmap
import android.net.Uri
import android.os.Looper
import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel
import com.google.ai.edge.litert.JniHandle
import java.io.InputStream
import java.util.concurrent.TimeUnit
import kerasnonconvex.compare.core.ENTRIES
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNull
import org.junit.Assert.assertSame
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Test

/** The app without its screen, on networks that look at one pixel. */
class ComparisonTest {
    private class App(files: Map<String, String>) : Application() {
        override val assets = AssetManager(files)
        override val contentResolver = object : ContentResolver() {
            override fun openInputStream(uri: Uri): InputStream? = null
        }
    }

    private val comparisons = mutableListOf<Comparison>()

    private fun comparison(card: Map<String, String> = ENTRIES): Comparison {
        val files = mapOf(
            "model.properties" to
                card.entries.joinToString("\n") { "${it.key}=${it.value}" },
            "dense.int8.tflite" to "",
            "small.int8.tflite" to "",
        )
        return Comparison(App(if (card.isEmpty()) emptyMap() else files))
            .also { comparisons += it }
            .also { settle(it) }
    }

    /** Does what the main thread has to do until nothing is under way. */
    private fun settle(comparison: Comparison) {
        while (comparison.screen.busy) {
            val next = Looper.getMainLooper().queue.poll(10, TimeUnit.SECONDS)
            checkNotNull(next) { "The comparison is stuck." }.run()
        }
    }

    private fun grey(value: Int) =
        Bitmap(28, 28, IntArray(28 * 28) { -0x1000000 or value * 0x10101 })

    @Before
    fun networks() {
        CompiledModel.inputs = 28 * 28
        CompiledModel.hasGpu = false
        CompiledModel.threads.clear()
        // They differ on dark images only.
        CompiledModel.network = { file, input ->
            val light = input[0]
            if (file.startsWith("dense")) floatArrayOf(light, 0.1f, 0f)
            else floatArrayOf(light, 0.3f, 0f)
        }
    }

    @After
    fun everythingIsClosed() {
        comparisons.forEach { it.clear() }
        val deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(10)
        while (JniHandle.open.isNotEmpty() && System.nanoTime() < deadline) {
            Thread.sleep(1)
        }
        assertEquals(emptySet<JniHandle>(), JniHandle.open)
    }

    @Test
    fun bothNetworksSeeTheImage() {
        val comparison = comparison()
        assertEquals("digits", comparison.screen.card!!.name)
        val told = mutableListOf<Screen>()
        comparison.observer = { told += it }
        comparison.show(grey(255))
        assertTrue(comparison.screen.busy)
        settle(comparison)
        val first = ENTRIES.getValue("label.0")
        assertEquals(first, comparison.screen.dense.first().label)
        assertEquals(1f, comparison.screen.pruned.first().score, 1e-6f)
        assertSame(comparison.screen, told.last())
        comparison.show(grey(51))
        settle(comparison)
        assertEquals(first, comparison.screen.dense.first().label)
        assertEquals(0.3f, comparison.screen.pruned.first().score, 1e-6f)
        assertEquals(listOf(1, 2), comparison.screen.run { listOf(agreed, seen) })
        assertFalse(Thread.currentThread() in CompiledModel.threads)
        assertEquals(1, CompiledModel.threads.size)
    }

    @Test
    fun requestsThatOverlapAllCount() {
        val comparison = comparison()
        repeat(20) { comparison.show(grey(255)) }
        comparison.invert(true)
        settle(comparison)
        assertEquals(listOf(20, 20), comparison.screen.run { listOf(agreed, seen) })
        assertTrue(comparison.screen.invert)
        assertEquals(0.3f, comparison.screen.pruned.first().score, 1e-6f)
    }

    @Test
    fun withoutAGpuTheCpuStays() {
        val comparison = comparison()
        comparison.choose(Accelerator.GPU)
        settle(comparison)
        assertEquals("No GPU.", comparison.screen.error)
        assertEquals(Accelerator.CPU, comparison.screen.accelerator)
        comparison.show(grey(255))
        comparison.measure()
        settle(comparison)
        assertNull(comparison.screen.error)
        assertEquals(1, comparison.screen.seen)
        assertEquals(2, comparison.screen.latencies.size)
        assertTrue(comparison.screen.latencies.all { it.p95 >= it.median })
    }

    @Test
    fun withAGpuTheLatenciesAreMeasuredAnew() {
        CompiledModel.hasGpu = true
        val comparison = comparison()
        comparison.measure()
        comparison.choose(Accelerator.GPU)
        settle(comparison)
        assertEquals(Accelerator.GPU, comparison.screen.accelerator)
        assertTrue(comparison.screen.latencies.isEmpty())
    }

    @Test
    fun anImageThatCannotBeReadChangesNothing() {
        val comparison = comparison()
        val image = grey(255)
        comparison.show(image)
        comparison.show(object : Uri() {})
        settle(comparison)
        assertEquals("The image cannot be opened.", comparison.screen.error)
        assertSame(image, comparison.screen.image)
        assertEquals(1, comparison.screen.seen)
    }

    @Test
    fun anAppWithoutNetworksSaysSo() {
        val comparison = comparison(emptyMap())
        assertTrue("keras-nonconvex android" in comparison.screen.error!!)
        comparison.show(grey(0))
        settle(comparison)
        assertTrue("keras-nonconvex android" in comparison.screen.error!!)
        assertNull(comparison.screen.card)
    }

    @Test
    fun aCardThatCannotBeReadSaysWhy() {
        val comparison = comparison(ENTRIES - "height")
        assertTrue("'height'" in comparison.screen.error!!)
    }
}
