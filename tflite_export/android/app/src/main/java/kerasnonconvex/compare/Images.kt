package kerasnonconvex.compare

import android.content.ContentResolver
import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.graphics.Matrix
import android.media.ExifInterface
import android.net.Uri
import java.io.IOException
import java.io.InputStream
import kerasnonconvex.compare.core.Pixels
import kerasnonconvex.compare.core.degrees
import kerasnonconvex.compare.core.sampleSize

/** Enough for the screen, and more than networks of this kind take. */
private const val SHORTER_SIDE = 512

/** Reads an image upright and not larger than needed. */
fun ContentResolver.image(uri: Uri): Bitmap {
    val size = BitmapFactory.Options().apply { inJustDecodeBounds = true }
    open(uri).use { BitmapFactory.decodeStream(it, null, size) }
    val options = BitmapFactory.Options().apply {
        inSampleSize = sampleSize(size.outWidth, size.outHeight, SHORTER_SIDE)
    }
    val bitmap =
        open(uri).use { BitmapFactory.decodeStream(it, null, options) }
            ?: throw IOException("This file is not an image.")
    val turn = open(uri).use {
        val tag = ExifInterface.TAG_ORIENTATION
        degrees(ExifInterface(it).getAttributeInt(tag, 0))
    }
    if (turn == 0) return bitmap
    val matrix = Matrix().apply { postRotate(turn.toFloat()) }
    return Bitmap.createBitmap(
        bitmap, 0, 0, bitmap.width, bitmap.height, matrix, true,
    )
}

fun Bitmap.pixels(): Pixels {
    val argb = IntArray(width * height)
    getPixels(argb, 0, width, 0, 0, width, height)
    return Pixels(width, height, argb)
}

private fun ContentResolver.open(uri: Uri): InputStream =
    openInputStream(uri) ?: throw IOException("The image cannot be opened.")
