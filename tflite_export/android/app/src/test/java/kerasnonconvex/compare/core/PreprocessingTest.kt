package kerasnonconvex.compare.core

import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Test

private fun grey(value: Int) = 0xFF shl 24 or (value * 0x010101)

class PreprocessingTest {
    private fun square(side: Int, vararg changes: Pair<String, String>) =
        card("height" to "$side", "width" to "$side", *changes)

    @Test
    fun sameSizeIsOnlyNormalised() {
        val image = Pixels(2, 2, intArrayOf(grey(0), grey(51), grey(102), grey(255)))
        val expected = floatArrayOf(0f, 0.2f, 0.4f, 1f)
        assertArrayEquals(expected, preprocess(image, square(2)), 1e-6f)
        val inverted = FloatArray(4) { 1f - expected[it] }
        assertArrayEquals(inverted, preprocess(image, square(2), true), 1e-6f)
    }

    @Test
    fun everyPixelCountsWhenShrinking() {
        // Three neighbours each, with 3, 3 and 1 sevenths.
        val image = Pixels(4, 4, IntArray(16) { grey(if (it % 4 == 3) 70 else 0) })
        val input = preprocess(image, square(2, "std" to "1"))
        assertArrayEquals(floatArrayOf(0f, 30f, 0f, 30f), input, 1e-3f)
    }

    @Test
    fun enlargingIsLinearAndHoldsTheBorder() {
        val image = Pixels(2, 2, intArrayOf(grey(0), grey(100), grey(0), grey(100)))
        val input = preprocess(image, square(4, "std" to "1"))
        assertArrayEquals(floatArrayOf(0f, 25f, 75f, 100f), input.copyOf(4), 1e-3f)
    }

    @Test
    fun coloursStandLastAndHaveTheirOwnNormalisation() {
        val image = Pixels(1, 1, intArrayOf(0xFF102030.toInt()))
        val card = square(
            1, "channels" to "3", "mean" to "16,16,16", "std" to "1,2,4",
        )
        assertArrayEquals(floatArrayOf(0f, 8f, 8f), preprocess(image, card), 1e-6f)
    }

    @Test
    fun greyIsLuma() {
        val colours = longArrayOf(0xFFFF0000, 0xFF00FF00, 0xFF0000FF)
        val image = Pixels(3, 1, IntArray(3) { colours[it].toInt() })
        val card = card("height" to "1", "width" to "3", "std" to "255")
        val luma = floatArrayOf(0.299f, 0.587f, 0.114f)
        assertArrayEquals(luma, preprocess(image, card), 1e-6f)
    }

    @Test
    fun transparencyIsWhite() {
        val image = Pixels(2, 1, intArrayOf(0x00000000, 0x33000000))
        val card = card("height" to "1", "width" to "2")
        assertArrayEquals(floatArrayOf(1f, 0.8f), preprocess(image, card), 1e-6f)
    }

    @Test
    fun cropsAroundTheCentre() {
        fun sides(width: Int, height: Int, inputWidth: Int, inputHeight: Int) =
            Box(0, 0, width, height)
                .centre(Box(0, 0, inputWidth, inputHeight))
                .let { listOf(it.left, it.top, it.width, it.height) }
        assertEquals(listOf(50, 0, 100, 100), sides(200, 100, 28, 28))
        assertEquals(listOf(0, 50, 100, 100), sides(100, 200, 28, 28))
        assertEquals(listOf(0, 25, 200, 50), sides(200, 100, 4, 1))
        assertEquals(listOf(0, 0, 1, 1), sides(1, 1, 4, 1))
        assertEquals(
            listOf(0, 34_900, 200_000, 200_000),
            sides(200_000, 269_800, 20_000, 20_000),
        )
    }

    @Test
    fun padsWithBlackOnBothSides() {
        fun sides(width: Int, height: Int, inputWidth: Int, inputHeight: Int) =
            Box(0, 0, inputWidth, inputHeight).within(Box(0, 0, width, height))
        assertEquals(Box(0, 7, 28, 14), sides(200, 100, 28, 28))
        assertEquals(Box(13, 0, 1, 28), sides(1, 1000, 28, 28))
        // Half of a pixel goes to the even side, as Python rounds.
        assertEquals(Box(1, 0, 2, 5), sides(5, 10, 5, 5))
        val image = Pixels(4, 1, IntArray(4) { grey(255) })
        val padded = square(3, "std" to "255", "fit" to "pad")
        val row = floatArrayOf(0f, 0f, 0f, 1f, 1f, 1f, 0f, 0f, 0f)
        assertArrayEquals(row, preprocess(image, padded), 1e-6f)
        assertArrayEquals(FloatArray(9), preprocess(image, padded, true), 1e-6f)
    }

    @Test
    fun stretchesTheWhole() {
        val image = Pixels(4, 2, IntArray(8) { grey(if (it % 4 < 2) 0 else 70) })
        val input = preprocess(image, square(2, "std" to "1", "fit" to "stretch"))
        assertArrayEquals(floatArrayOf(10f, 60f, 10f, 60f), input, 1e-3f)
    }

    @Test
    fun photosAreReadSmallAndUpright() {
        assertEquals(1, sampleSize(1023, 4000, 512))
        assertEquals(2, sampleSize(4000, 1024, 512))
        assertEquals(4, sampleSize(4000, 3000, 512))
        val turns = listOf(0, 1, 3, 6, 8).map { degrees(it) }
        assertEquals(listOf(0, 0, 180, 90, 270), turns)
    }

    @Test
    fun refusesPixelsThatAreMissing() {
        assertThrows(IllegalArgumentException::class.java) {
            Pixels(2, 2, IntArray(3))
        }
    }
}
