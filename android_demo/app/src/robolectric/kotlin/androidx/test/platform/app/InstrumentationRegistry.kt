package androidx.test.platform.app

import android.app.Instrumentation
import android.os.Bundle

/*
 * Robolectric tells androidx.test what it does, and androidx.test is not on Maven Central. These files
 * listen in its place, and do nothing with it.
 */
object InstrumentationRegistry {
    private var instance: Instrumentation? = null

    @JvmStatic
    fun registerInstance(
        instrumentation: Instrumentation?,
        arguments: Bundle?,
    ) {
        instance = instrumentation
    }

    @JvmStatic
    fun getInstrumentation(): Instrumentation? = instance
}
