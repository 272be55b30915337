package kerasnonconvex.compare

import android.app.Application
import android.graphics.Bitmap
import android.net.Uri
import android.os.Handler
import android.os.Looper
import androidx.lifecycle.AndroidViewModel
import com.google.ai.edge.litert.Accelerator
import java.util.concurrent.Executors
import kerasnonconvex.compare.core.Latency
import kerasnonconvex.compare.core.ModelCard
import kerasnonconvex.compare.core.Ranked
import kerasnonconvex.compare.core.interleaved
import kerasnonconvex.compare.core.preprocess
import kerasnonconvex.compare.core.topLabels

const val RUNS = 200
private const val WARMUP = 30
private const val CARD = "model.properties"
private const val NO_NETWORKS = "No networks yet; keras-nonconvex android adds them."

/** What is on the screen. */
data class Screen(
    val card: ModelCard? = null,
    val accelerator: Accelerator = Accelerator.CPU,
    val invert: Boolean = false,
    val image: Bitmap? = null,
    val dense: List<Ranked> = emptyList(),
    val pruned: List<Ranked> = emptyList(),
    val agreed: Int = 0,
    val seen: Int = 0,
    val latencies: List<Latency> = emptyList(),
    val busy: Boolean = false,
    val error: String? = null,
)

/**
 * The two networks and what they found; outlives a turn of the phone.
 *
 * Everything slow, and every call of the networks, happens on one worker
 * thread. [screen] changes on the main thread only, and [observer] is told.
 */
class Comparison(application: Application) : AndroidViewModel(application) {
    var screen = Screen()
        private set
    var observer: (Screen) -> Unit = {}

    private val assets = application.assets
    private val images = application.contentResolver
    private val main = Handler(Looper.getMainLooper())
    private val worker = Executors.newSingleThreadExecutor()
    private var pending = 0

    // The worker's own.
    private var state = screen
    private var networks = emptyList<Classifier>()
    private var running: Accelerator? = null

    init {
        work {
            check(CARD in assets.list("").orEmpty()) { NO_NETWORKS }
            val text = assets.open(CARD).reader()
            it.copy(card = text.use { ModelCard.read(text) })
        }
    }

    fun show(image: Bitmap) = work { withImage(it, image) }

    fun show(uri: Uri) = work { withImage(it, images.image(uri)) }

    fun invert(invert: Boolean) = work { classified(it.copy(invert = invert)) }

    fun choose(accelerator: Accelerator) = work {
        networks(it.card, accelerator)
        val chosen = it.copy(accelerator = accelerator, latencies = emptyList())
        classified(chosen)
    }

    fun measure() = work {
        val networks = networks(it.card, it.accelerator)
        // On the last image, or on zeros: timing does not depend on values.
        val actions = networks.map { network -> { network.run(); Unit } }
        it.copy(latencies = interleaved(actions, RUNS, WARMUP))
    }

    private fun withImage(before: Screen, image: Bitmap): Screen {
        val after = classified(before.copy(image = image))
        val same = after.dense.first().label == after.pruned.first().label
        return after.copy(
            seen = after.seen + 1,
            agreed = after.agreed + if (same) 1 else 0,
        )
    }

    private fun classified(before: Screen): Screen {
        val image = before.image ?: return before
        val networks = networks(before.card, before.accelerator)
        val card = before.card!!
        val input = preprocess(image.pixels(), card, before.invert)
        val (dense, pruned) = networks.map {
            topLabels(it.classify(input), card.labels)
        }
        return before.copy(dense = dense, pruned = pruned)
    }

    /** Dense and pruned on this accelerator, made when it changes. */
    private fun networks(
        card: ModelCard?,
        accelerator: Accelerator,
    ): List<Classifier> {
        checkNotNull(card) { NO_NETWORKS }
        if (running != accelerator) {
            close()
            for (network in listOf(card.dense, card.pruned)) {
                networks += Classifier(assets, network.file, accelerator)
            }
            running = accelerator
        }
        return networks
    }

    private fun close() {
        networks.forEach { it.close() }
        networks = emptyList()
        running = null
    }

    /** Makes the next state on the worker; a failure leaves it, with a reason. */
    private fun work(next: (Screen) -> Screen) {
        pending++
        update(screen.copy(busy = true))
        worker.execute {
            state = try {
                next(state).copy(error = null)
            } catch (error: Exception) {
                state.failed(error)
            } catch (error: LinkageError) {
                // No LiteRT for this phone's processor.
                state.failed(error)
            }
            val done = state
            main.post {
                pending--
                update(done.copy(busy = pending > 0))
            }
        }
    }

    private fun Screen.failed(error: Throwable) =
        copy(error = error.message ?: error.toString())

    private fun update(next: Screen) {
        screen = next
        observer(next)
    }

    override fun onCleared() {
        worker.execute { close() }
        worker.shutdown()
    }
}
