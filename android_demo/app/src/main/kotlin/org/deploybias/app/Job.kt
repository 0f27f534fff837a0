package org.deploybias.app

import android.os.Handler
import android.os.Looper
import java.util.concurrent.Executors
import java.util.concurrent.atomic.AtomicBoolean

/** Long work on a thread of its own; what it has to show is [state], on the main thread. */
abstract class Job<State>(
    idle: State,
) {
    private val worker = Executors.newSingleThreadExecutor()
    private val main = Handler(Looper.getMainLooper())
    private val cancelled = AtomicBoolean()

    /** Told that [state] changed; a screen sets itself while it is seen. */
    var listener: Screen? = null

    var state: State = idle
        private set
    var isRunning = false
        private set

    protected val goesOn: Boolean get() = !cancelled.get()

    fun cancel() = cancelled.set(true)

    /** Starts [work]; where it throws, [failed] makes the state of what was there last. */
    protected fun begin(
        first: State,
        failed: (Throwable) -> State,
        work: () -> State,
    ) {
        if (isRunning) return
        isRunning = true
        cancelled.set(false)
        state = first
        listener?.refresh()
        worker.execute {
            // Errors too: a library that is not there or too little memory is to be said, not to end the app.
            val last =
                try {
                    work()
                } catch (error: Throwable) {
                    failed(error)
                }
            main.post {
                isRunning = false
                state = last
                listener?.refresh()
            }
        }
    }

    /** Shows how far it has come; from the worker's thread. */
    protected fun show(next: State) {
        main.post {
            state = next
            listener?.refresh()
        }
    }
}

/** What an error says to a person. */
internal fun said(error: Throwable): String = error.message ?: error.javaClass.simpleName
