package kerasnonconvex.compare.core

import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Test

class RankingTest {
    private val labels = listOf("a", "b", "c", "d")

    @Test
    fun bestFirstAndTiesInOrder() {
        val ranked = topLabels(floatArrayOf(0.1f, 0.3f, 0.3f, 0.2f), labels)
        assertEquals(
            listOf(Ranked("b", 0.3f), Ranked("c", 0.3f), Ranked("d", 0.2f)),
            ranked,
        )
    }

    @Test
    fun fewerLabelsThanAskedFor() {
        assertEquals(1, topLabels(floatArrayOf(1f), listOf("only")).size)
    }

    @Test
    fun logitsBecomeProbabilities() {
        val three = topLabels(floatArrayOf(-1f, 2f, 2f, -1f), labels)
        assertEquals(listOf("b", "c", "a"), three.map { it.label })
        assertEquals(0.4763f, three[0].score, 1e-4f)
        assertEquals(0.0237f, three[2].score, 1e-4f)
        val one = topLabels(floatArrayOf(-2f), listOf("only"))
        assertEquals(0.1192f, one[0].score, 1e-4f)
    }

    @Test
    fun refusesOtherCountsAndNoNumbers() {
        for (scores in listOf(FloatArray(3), floatArrayOf(0f, Float.NaN, 0f, 0f))) {
            assertThrows(IllegalArgumentException::class.java) {
                topLabels(scores, labels)
            }
        }
    }
}
