package org.deploybias.app

import android.graphics.Bitmap
import android.graphics.Canvas
import android.os.Looper
import android.view.View
import android.view.ViewGroup
import android.widget.Button
import android.widget.Spinner
import android.widget.TextView
import org.robolectric.Robolectric
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.android.controller.ActivityController
import java.io.File
import java.io.InputStream

/** What Python wrote for the tests: see tests/expected. */
internal val expected =
    File(System.getProperty("deploybias.expected") ?: error("-Ddeploybias.expected=FOLDER is missing"))

/** The app with its assets from a folder, as the real one has them from its package. */
class TestApplication : DemoApplication() {
    public override fun asset(path: String): InputStream = File(expected, "assets/$path").inputStream()
}

internal fun demo() = RuntimeEnvironment.getApplication() as TestApplication

internal fun launch(): ActivityController<MainActivity> = Robolectric.buildActivity(MainActivity::class.java).setup()

internal fun MainActivity.views(): List<View> = below(window.decorView)

private fun below(view: View): List<View> =
    listOf(view) +
        (
            (view as? ViewGroup)?.let { group -> (0 until group.childCount).flatMap { below(group.getChildAt(it)) } }
                ?: emptyList()
        )

internal fun MainActivity.texts(): List<String> = views().filterIsInstance<TextView>().map { "${it.text}" }

internal fun MainActivity.press(label: String) {
    views().filterIsInstance<Button>().first { "${it.text}" == label }.performClick()
}

internal fun MainActivity.pick(
    spinner: Int,
    position: Int,
) = views().filterIsInstance<Spinner>()[spinner].setSelection(position)

internal fun MainActivity.picked(spinner: Int): Int = views().filterIsInstance<Spinner>()[spinner].selectedItemPosition

/** Runs the main thread until something is so. */
internal fun waitUntil(
    what: String,
    holds: () -> Boolean,
) {
    val end = System.nanoTime() + 60_000_000_000
    while (!holds()) {
        check(System.nanoTime() < end) { "waited a minute for: $what" }
        Thread.sleep(5)
        shadowOf(Looper.getMainLooper()).idle()
    }
}

/** Writes what the screen shows as a PNG. */
internal fun MainActivity.screenshot(name: String) {
    shadowOf(Looper.getMainLooper()).idle()
    val view = window.decorView
    val (width, height) = resources.displayMetrics.let { it.widthPixels to it.heightPixels }
    view.measure(
        View.MeasureSpec.makeMeasureSpec(width, View.MeasureSpec.EXACTLY),
        View.MeasureSpec.makeMeasureSpec(height, View.MeasureSpec.EXACTLY),
    )
    view.layout(0, 0, width, height)
    val bitmap = Bitmap.createBitmap(width, height, Bitmap.Config.ARGB_8888)
    view.draw(Canvas(bitmap))
    val folder =
        File(System.getProperty("deploybias.screenshots") ?: error("-Ddeploybias.screenshots=FOLDER is missing"))
    folder.mkdirs()
    File(folder, "$name.png").outputStream().use { bitmap.compress(Bitmap.CompressFormat.PNG, 100, it) }
}
