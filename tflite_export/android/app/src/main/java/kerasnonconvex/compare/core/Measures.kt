package kerasnonconvex.compare.core

import java.util.Locale

/** What the table compares. */
enum class Measure { SIZE, ACCURACY, MACS, MEDIAN, P95 }

/** A line of the table; [ratio] is pruned / dense, of costs only. */
data class Row(
    val measure: Measure,
    val dense: String,
    val pruned: String,
    val ratio: String,
)

/** The table: what is known of both networks, and latencies once measured. */
fun measures(card: ModelCard, dense: Latency?, pruned: Latency?): List<Row> =
    listOfNotNull(
        row(Measure.SIZE, card.dense.bytes / 1e3, card.pruned.bytes / 1e3, "%,.1f kB"),
        row(Measure.ACCURACY, percent(card.dense), percent(card.pruned), "%.2f %%"),
        row(Measure.MACS, millions(card.dense), millions(card.pruned), "%,.3f M"),
        row(Measure.MEDIAN, dense?.median, pruned?.median, "%,.3f ms"),
        row(Measure.P95, dense?.p95, pruned?.p95, "%,.3f ms"),
    )

private fun percent(network: Network) = network.accuracy?.times(100)

private fun millions(network: Network) = network.macs?.div(1e6)

private fun row(
    measure: Measure,
    dense: Double?,
    pruned: Double?,
    format: String,
): Row? {
    if (dense == null || pruned == null) return null
    val cost = measure != Measure.ACCURACY && dense > 0
    val ratio = if (cost) "%.2f".show(pruned / dense) else ""
    return Row(measure, format.show(dense), format.show(pruned), ratio)
}

private fun String.show(value: Double) = String.format(Locale.ROOT, this, value)
