package android.app

import android.content.Context
import android.os.Bundle
import android.view.LayoutInflater
import android.view.View

open class Activity : Context() {
    val layoutInflater: LayoutInflater get() = TODO()

    protected open fun onCreate(savedInstanceState: Bundle?) {}

    protected open fun onDestroy() {}

    fun setContentView(layoutResID: Int): Unit = TODO()

    fun <T : View> findViewById(id: Int): T = TODO()
}

open class Application : Context()
