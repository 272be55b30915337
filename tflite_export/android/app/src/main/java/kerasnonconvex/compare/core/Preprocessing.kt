package kerasnonconvex.compare.core

import kotlin.math.abs
import kotlin.math.ceil
import kotlin.math.floor
import kotlin.math.max
import kotlin.math.min
import kotlin.math.round

/** How an image with other proportions gets the size of the input. */
enum class Fit {
    /** Its proportions change. */
    STRETCH,

    /** What is too much is cut off on both sides. */
    CROP,

    /** Black is added on both sides. */
    PAD,
}

/** An image as Android hands it out: 0xAARRGGBB, row by row. */
class Pixels(val width: Int, val height: Int, val argb: IntArray) {
    init {
        require(width > 0 && height > 0 && argb.size == width * height) {
            "$width x $height pixels expected, not ${argb.size}."
        }
    }
}

/**
 * Makes a network's input of an image: fit it to the input's size, grey if need
 * be, invert if asked, normalise. What is added to it stays black.
 *
 * Transparent pixels lie on white. The values are those of
 * `keras.ops.image.resize(..., interpolation="bilinear", antialias=True)`.
 *
 * @return height x width x channels values, channels last.
 */
fun preprocess(
    image: Pixels,
    card: ModelCard,
    invert: Boolean = false,
): FloatArray {
    val whole = Box(0, 0, image.width, image.height)
    val input = Box(0, 0, card.width, card.height)
    val from = if (card.fit == Fit.CROP) whole.centre(input) else whole
    val to = if (card.fit == Fit.PAD) input.within(whole) else input
    val columns = taps(from.width, to.width)
    val rows = taps(from.height, to.height)
    val values = FloatArray(card.height * card.width * card.channels)
    for (channel in 0 until card.channels) {
        val narrow = Array(from.height) { y ->
            val start = (from.top + y) * image.width + from.left
            FloatArray(to.width) { x ->
                columns[x].sum {
                    intensity(image.argb[start + it], channel, card.channels)
                }
            }
        }
        for (y in 0 until card.height) {
            for (x in 0 until card.width) {
                val row = rows.getOrNull(y - to.top)
                val column = x - to.left
                val pixel =
                    if (row == null || column !in columns.indices) 0f
                    else {
                        val resized = row.sum { narrow[it][column] }
                        if (invert) 255f - resized else resized
                    }
                val at = (y * card.width + x) * card.channels + channel
                values[at] = (pixel - card.mean[channel]) / card.std[channel]
            }
        }
    }
    return values
}

/** Where the EXIF orientation of a photo asks for a turn, in degrees. */
fun degrees(exifOrientation: Int): Int =
    when (exifOrientation) {
        3 -> 180
        6 -> 90
        8 -> 270
        else -> 0
    }

/** The largest power of two that leaves [least] pixels on the shorter side. */
fun sampleSize(width: Int, height: Int, least: Int): Int {
    var size = 1
    while (min(width, height) / (2 * size) >= least) size *= 2
    return size
}

/** A part of an image. */
internal data class Box(
    val left: Int,
    val top: Int,
    val width: Int,
    val height: Int,
)

/** The largest centred part with the proportions of another box. */
internal fun Box.centre(other: Box): Box {
    // In Long, as a panorama times an input side may leave the Int range.
    val fitted = height.toLong() * other.width / other.height
    val w = max(1L, min(width.toLong(), fitted)).toInt()
    val h =
        if (fitted <= width) height
        else max(1L, width.toLong() * other.height / other.width).toInt()
    return Box((width - w) / 2, (height - h) / 2, w, h)
}

/** The largest centred part that an image as a whole can take. */
internal fun Box.within(image: Box): Box {
    val sides = listOf(image.width, image.height)
    val scale = min(width.toDouble() / sides[0], height.toDouble() / sides[1])
    val (w, h) = sides.map { max(1, round(scale * it).toInt()) }
    return Box((width - w) / 2, (height - h) / 2, w, h)
}

/** A weighted mean of neighbours in a row or column. */
internal class Taps(val first: Int, val weights: FloatArray) {
    inline fun sum(value: (Int) -> Float): Float {
        var total = 0f
        for (i in weights.indices) total += weights[i] * value(first + i)
        return total
    }
}

/**
 * Bilinear resizing of [from] samples to [to]: a triangle around each new
 * sample's centre, as wide as the step between new samples when shrinking, so
 * that every old sample counts.
 */
internal fun taps(from: Int, to: Int): List<Taps> {
    val step = from.toDouble() / to
    val radius = max(step, 1.0)
    return List(to) { index ->
        val centre = (index + 0.5) * step - 0.5
        val first = max(0, ceil(centre - radius).toInt())
        val last = min(from - 1, floor(centre + radius).toInt())
        val weights = DoubleArray(last - first + 1) {
            1.0 - min(1.0, abs(first + it - centre) / radius)
        }
        val total = weights.sum()
        Taps(first, FloatArray(weights.size) { (weights[it] / total).toFloat() })
    }
}

/** A pixel's red, green or blue; the luma of ITU-R BT.601 in grey images. */
private fun intensity(argb: Int, channel: Int, channels: Int): Float {
    val red = argb shr 16 and 0xFF
    val green = argb shr 8 and 0xFF
    val blue = argb and 0xFF
    val colour =
        when {
            channels == 1 -> 0.299f * red + 0.587f * green + 0.114f * blue
            channel == 0 -> red.toFloat()
            channel == 1 -> green.toFloat()
            else -> blue.toFloat()
        }
    val alpha = argb ushr 24
    return if (alpha == 255) colour else 255f - (255f - colour) * alpha / 255f
}
