package android.widget

import android.content.Context
import android.graphics.Bitmap
import android.view.View

open class TextView(context: Context) : View(context) {
    var text: CharSequence = ""

    fun setText(resid: Int): Unit = TODO()
}

open class Button(context: Context) : TextView(context)

abstract class CompoundButton(context: Context) : Button(context) {
    var isChecked: Boolean = false
}

class CheckBox(context: Context) : CompoundButton(context)

class RadioButton(context: Context) : CompoundButton(context)

class ImageView(context: Context) : View(context) {
    fun setImageBitmap(bm: Bitmap?): Unit = TODO()
}

class ProgressBar(context: Context) : View(context) {
    var progress: Int = 0
}

class Toast(context: Context) {
    fun show(): Unit = TODO()

    companion object {
        const val LENGTH_LONG = 1

        fun makeText(context: Context, resId: Int, duration: Int): Toast = TODO()
    }
}
