package android.graphics

import java.io.InputStream

class Bitmap internal constructor(
    val width: Int,
    val height: Int,
    private val argb: IntArray,
) {
    fun getPixels(
        pixels: IntArray,
        offset: Int,
        stride: Int,
        x: Int,
        y: Int,
        width: Int,
        height: Int,
    ) {
        check(listOf(offset, stride, x, y) == listOf(0, this.width, 0, 0))
        argb.copyInto(pixels, endIndex = width * height)
    }

    companion object {
        fun createBitmap(
            source: Bitmap,
            x: Int,
            y: Int,
            width: Int,
            height: Int,
            m: Matrix?,
            filter: Boolean,
        ): Bitmap = TODO()
    }
}

class BitmapFactory {
    class Options {
        var inJustDecodeBounds: Boolean = false
        var inSampleSize: Int = 0
        var outWidth: Int = 0
        var outHeight: Int = 0
    }

    companion object {
        fun decodeStream(
            stream: InputStream?,
            outPadding: Nothing?,
            options: Options?,
        ): Bitmap? = TODO()
    }
}

class Matrix {
    fun postRotate(degrees: Float): Boolean = TODO()
}
