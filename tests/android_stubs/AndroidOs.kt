package android.os

import java.util.concurrent.LinkedBlockingQueue

class Bundle

class Looper private constructor() {
    internal val queue = LinkedBlockingQueue<Runnable>()

    companion object {
        private val main = Looper()

        fun getMainLooper(): Looper = main
    }
}

class Handler(private val looper: Looper) {
    fun post(r: Runnable): Boolean = looper.queue.add(r)
}
