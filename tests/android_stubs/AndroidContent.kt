package android.content

import android.content.res.AssetManager
import android.net.Uri
import java.io.InputStream

abstract class Context {
    open val assets: AssetManager get() = TODO()
    open val contentResolver: ContentResolver get() = TODO()

    fun getString(resId: Int): String = TODO()

    fun getString(resId: Int, vararg formatArgs: Any?): String = TODO()
}

abstract class ContentResolver {
    open fun openInputStream(uri: Uri): InputStream? = TODO()
}

class ActivityNotFoundException : RuntimeException()
