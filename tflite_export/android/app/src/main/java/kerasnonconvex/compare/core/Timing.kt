package kerasnonconvex.compare.core

import kotlin.math.floor
import kotlin.math.min

/** Milliseconds of one inference. */
data class Latency(val median: Double, val p95: Double)

/**
 * Times actions by interleaved runs, so that noise falls on all alike: in each
 * round every action runs once, in turn.
 *
 * @param runs rounds that count.
 * @param warmup rounds before.
 * @param clock nanoseconds.
 * @return one [Latency] per action, in order.
 */
fun interleaved(
    actions: List<() -> Unit>,
    runs: Int,
    warmup: Int,
    clock: () -> Long = System::nanoTime,
): List<Latency> {
    require(runs > 0) { "At least one run is needed, not $runs." }
    val times = List(actions.size) { DoubleArray(runs) }
    for (round in -warmup until runs) {
        actions.forEachIndexed { index, action ->
            val start = clock()
            action()
            val elapsed = clock() - start
            if (round >= 0) times[index][round] = elapsed / 1e6
        }
    }
    return times.map { Latency(percentile(it, 50.0), percentile(it, 95.0)) }
}

/** Linear between the two nearest values, as `numpy.percentile`. */
internal fun percentile(values: DoubleArray, percent: Double): Double {
    val sorted = values.sortedArray()
    val place = (sorted.size - 1) * percent / 100
    val below = floor(place).toInt()
    val above = min(below + 1, sorted.size - 1)
    return sorted[below] + (sorted[above] - sorted[below]) * (place - below)
}
