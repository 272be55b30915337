package android.media

import java.io.InputStream

class ExifInterface(inputStream: InputStream) {
    fun getAttributeInt(tag: String, defaultValue: Int): Int = TODO()

    companion object {
        const val TAG_ORIENTATION = "Orientation"
    }
}
