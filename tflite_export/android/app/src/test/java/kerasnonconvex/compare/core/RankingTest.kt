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
    fun refusesOtherCountsAndNoNumbers() {
        for (scores in listOf(FloatArray(3), floatArrayOf(0f, Float.NaN, 0f, 0f))) {
            assertThrows(IllegalArgumentException::class.java) {
                topLabels(scores, labels)
            }
        }
    }
}
