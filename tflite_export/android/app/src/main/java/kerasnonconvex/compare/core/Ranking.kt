package kerasnonconvex.compare.core

import kotlin.math.exp

data class Ranked(val label: String, val score: Float)

/**
 * The best labels with their probabilities, best first; among equals the one
 * that is listed first. Scores outside 0..1 are logits.
 */
fun topLabels(
    scores: FloatArray,
    labels: List<String>,
    count: Int = 3,
): List<Ranked> {
    require(scores.size == labels.size) {
        "The network gives ${scores.size} scores for ${labels.size} labels."
    }
    require(scores.none { it.isNaN() }) { "The network gives no numbers." }
    val shares = if (scores.all { it in 0f..1f }) scores else softmax(scores)
    return labels
        .mapIndexed { index, label -> Ranked(label, shares[index]) }
        .sortedByDescending { it.score }
        .take(count)
}

/** Of one logit the sigmoid. */
private fun softmax(logits: FloatArray): FloatArray {
    val all = if (logits.size == 1) logits + 0f else logits
    val most = all.max()
    val total = all.map { exp(it - most) }.sum()
    return FloatArray(logits.size) { exp(logits[it] - most) / total }
}
