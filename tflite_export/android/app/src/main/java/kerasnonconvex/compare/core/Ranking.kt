package kerasnonconvex.compare.core

data class Ranked(val label: String, val score: Float)

/** The best labels, best first; among equals the one that is listed first. */
fun topLabels(
    scores: FloatArray,
    labels: List<String>,
    count: Int = 3,
): List<Ranked> {
    require(scores.size == labels.size) {
        "The network gives ${scores.size} scores for ${labels.size} labels."
    }
    require(scores.none { it.isNaN() }) { "The network gives no numbers." }
    return labels
        .mapIndexed { index, label -> Ranked(label, scores[index]) }
        .sortedByDescending { it.score }
        .take(count)
}
