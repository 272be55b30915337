package android.view

import android.content.Context

open class View(context: Context) {
    var visibility: Int = 0
    var isEnabled: Boolean = true

    fun <T : View> findViewById(id: Int): T = TODO()

    fun setOnClickListener(l: OnClickListener?): Unit = TODO()

    fun interface OnClickListener {
        fun onClick(v: View)
    }

    companion object {
        const val VISIBLE = 0
        const val GONE = 8
    }
}

abstract class ViewGroup(context: Context) : View(context) {
    fun addView(child: View): Unit = TODO()

    fun removeAllViews(): Unit = TODO()
}

abstract class LayoutInflater {
    fun inflate(resource: Int, root: ViewGroup?, attachToRoot: Boolean): View =
        TODO()
}
