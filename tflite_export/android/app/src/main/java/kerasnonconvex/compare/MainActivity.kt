package kerasnonconvex.compare

import android.content.ActivityNotFoundException
import android.os.Bundle
import android.view.View
import android.view.ViewGroup
import android.widget.CheckBox
import android.widget.ImageView
import android.widget.ProgressBar
import android.widget.RadioButton
import android.widget.TextView
import android.widget.Toast
import androidx.activity.ComponentActivity
import androidx.activity.result.PickVisualMediaRequest
import androidx.activity.result.contract.ActivityResultContracts.PickVisualMedia
import androidx.activity.result.contract.ActivityResultContracts.TakePicturePreview
import androidx.lifecycle.ViewModelProvider
import com.google.ai.edge.litert.Accelerator
import kerasnonconvex.compare.core.Measure
import kerasnonconvex.compare.core.Ranked
import kerasnonconvex.compare.core.measures
import kotlin.math.roundToInt

private val CONTROLS = listOf(
    R.id.gallery, R.id.camera, R.id.invert, R.id.cpu, R.id.gpu, R.id.measure,
)

/** One screen: an image, what both networks see in it, and what they cost. */
class MainActivity : ComponentActivity() {
    private lateinit var comparison: Comparison

    private val gallery = registerForActivityResult(PickVisualMedia()) {
        if (it != null) comparison.show(it)
    }
    private val camera = registerForActivityResult(TakePicturePreview()) {
        if (it != null) comparison.show(it)
    }

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.activity_main)
        comparison = ViewModelProvider(this)[Comparison::class.java]
        onClick(R.id.gallery) {
            gallery.launch(PickVisualMediaRequest(PickVisualMedia.ImageOnly))
        }
        onClick(R.id.camera) { camera.launch(null) }
        onClick(R.id.invert) {
            comparison.invert(findViewById<CheckBox>(R.id.invert).isChecked)
        }
        onClick(R.id.cpu) { comparison.choose(Accelerator.CPU) }
        onClick(R.id.gpu) { comparison.choose(Accelerator.GPU) }
        onClick(R.id.measure) { comparison.measure() }
        comparison.observer = ::show
        show(comparison.screen)
    }

    override fun onDestroy() {
        comparison.observer = {}
        super.onDestroy()
    }

    private fun onClick(id: Int, action: () -> Unit) =
        findViewById<View>(id).setOnClickListener {
            try {
                action()
            } catch (error: ActivityNotFoundException) {
                Toast.makeText(this, R.string.no_app, Toast.LENGTH_LONG).show()
            }
        }

    private fun show(screen: Screen) {
        val card = screen.card
        if (card != null) {
            text(R.id.model).text = getString(
                R.string.model,
                card.name, card.precision, card.height, card.width, card.channels,
            )
        }
        text(R.id.message).text = message(screen)
        findViewById<ImageView>(R.id.image).setImageBitmap(screen.image)
        val invert = findViewById<CheckBox>(R.id.invert)
        invert.visibility = if (card?.channels == 1) View.VISIBLE else View.GONE
        if (!screen.busy) {
            // Meanwhile they show what was asked for.
            invert.isChecked = screen.invert
            val gpu = screen.accelerator == Accelerator.GPU
            findViewById<RadioButton>(if (gpu) R.id.gpu else R.id.cpu).isChecked = true
        }
        for (id in CONTROLS) {
            findViewById<View>(id).isEnabled = card != null && !screen.busy
        }
        labels(R.id.dense_labels, R.string.dense, screen.dense)
        labels(R.id.pruned_labels, R.string.pruned, screen.pruned)
        table(screen)
    }

    private fun message(screen: Screen): String =
        when {
            screen.busy -> getString(R.string.busy)
            screen.error != null -> getString(R.string.failed, screen.error)
            screen.seen > 0 ->
                getString(R.string.agreement, screen.agreed, screen.seen)
            else -> getString(R.string.hint)
        }

    private fun labels(id: Int, title: Int, ranked: List<Ranked>) {
        val list = findViewById<ViewGroup>(id)
        list.removeAllViews()
        if (ranked.isEmpty()) return
        list.addView(TextView(this).apply { setText(title) })
        for ((label, score) in ranked) {
            val line = add(R.layout.label, list)
            line.findViewById<TextView>(R.id.label).text =
                getString(R.string.score, label, score * 100)
            line.findViewById<ProgressBar>(R.id.score).progress =
                (score * 1000).roundToInt()
        }
    }

    private fun table(screen: Screen) {
        val table = findViewById<ViewGroup>(R.id.measures)
        table.removeAllViews()
        val card = screen.card ?: return
        val (dense, pruned) = screen.latencies.ifEmpty { listOf(null, null) }
        line(
            table,
            "", getString(R.string.dense), getString(R.string.pruned),
            getString(R.string.ratio),
        )
        for (row in measures(card, dense, pruned)) {
            line(table, getString(name(row.measure)), row.dense, row.pruned, row.ratio)
        }
        text(R.id.measured).apply {
            visibility = if (dense == null) View.GONE else View.VISIBLE
            text = getString(R.string.measured, RUNS, screen.accelerator.name)
        }
    }

    private fun line(table: ViewGroup, vararg cells: String) {
        val line = add(R.layout.measure, table)
        val ids = listOf(R.id.what, R.id.dense, R.id.pruned, R.id.ratio)
        for ((id, cell) in ids.zip(cells)) {
            line.findViewById<TextView>(id).text = cell
        }
    }

    private fun add(layout: Int, parent: ViewGroup): View {
        val view = layoutInflater.inflate(layout, parent, false)
        parent.addView(view)
        return view
    }

    private fun text(id: Int) = findViewById<TextView>(id)

    private fun name(measure: Measure) =
        when (measure) {
            Measure.SIZE -> R.string.size
            Measure.ACCURACY -> R.string.accuracy
            Measure.MACS -> R.string.macs
            Measure.MEDIAN -> R.string.median
            Measure.P95 -> R.string.p95
        }
}
