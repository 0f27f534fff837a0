package org.deploybias.app

import android.Manifest
import android.app.Activity
import android.content.Intent
import android.content.pm.PackageManager
import android.graphics.Color
import android.os.Bundle
import android.view.ViewGroup.LayoutParams.MATCH_PARENT
import android.view.ViewGroup.LayoutParams.WRAP_CONTENT
import android.widget.Button
import android.widget.FrameLayout
import android.widget.LinearLayout
import org.deploybias.bundle.ProofReport

/** Two screens, Proof and Listen. Their jobs live in the application, so turning the device stops nothing. */
class MainActivity : Activity() {
    private val demo: DemoApplication get() = application as DemoApplication
    private lateinit var listen: ListenScreen
    private lateinit var screens: List<Screen>
    private lateinit var tabs: List<Button>
    private lateinit var frame: FrameLayout
    private var shown = 0

    override fun onCreate(state: Bundle?) {
        setTheme(android.R.style.Theme_Material_Light_DarkActionBar)
        super.onCreate(state)
        title = Words.TITLE
        listen = ListenScreen(this, demo.listening, demo.backends, demo.assetFiles, ::mayRecord)
        screens = listOf(ProofScreen(this, demo.proof, demo.backends, ::share), listen)
        screens.forEachIndexed { i, screen -> state?.getIntArray("$PICKED$i")?.let { screen.picked = it } }
        tabs = listOf(Words.PROOF, Words.LISTEN).mapIndexed { index, label -> tab(label) { show(index) } }
        frame = FrameLayout(this)
        setContentView(
            LinearLayout(this).apply {
                orientation = LinearLayout.VERTICAL
                fitsSystemWindows = true
                setBackgroundColor(Color.WHITE)
                addView(
                    LinearLayout(context).apply {
                        for (tab in tabs) addView(tab, LinearLayout.LayoutParams(0, WRAP_CONTENT, 1f))
                    },
                )
                addView(frame, LinearLayout.LayoutParams(MATCH_PARENT, 0, 1f))
            },
        )
        show(state?.getInt(SHOWN) ?: 0)
    }

    override fun onStart() {
        super.onStart()
        demo.proof.listener = screens[0]
        demo.listening.listener = screens[1]
        screens.forEach(Screen::refresh)
    }

    override fun onStop() {
        // A screen that nobody sees must not be kept by a job that runs on; a microphone must not run on.
        // Another instance may have begun to listen before this one stops.
        if (demo.proof.listener === screens[0]) demo.proof.listener = null
        if (demo.listening.listener === screens[1]) {
            demo.listening.listener = null
            if (!isChangingConfigurations) demo.listening.cancel()
        }
        super.onStop()
    }

    override fun onSaveInstanceState(state: Bundle) {
        super.onSaveInstanceState(state)
        state.putInt(SHOWN, shown)
        screens.forEachIndexed { i, screen -> state.putIntArray("$PICKED$i", screen.picked) }
    }

    override fun onRequestPermissionsResult(
        code: Int,
        permissions: Array<String>,
        results: IntArray,
    ) {
        if (results.firstOrNull() == PackageManager.PERMISSION_GRANTED) listen.begin() else listen.refused()
    }

    internal fun show(index: Int) {
        shown = index
        frame.removeAllViews()
        frame.addView(screens[index])
        tabs.forEachIndexed { i, tab -> tab.isSelected = i == index }
        tabs.forEachIndexed { i, tab -> tab.alpha = if (i == index) 1f else 0.6f }
    }

    private fun tab(
        label: String,
        click: () -> Unit,
    ) = Button(this).apply {
        text = label
        isAllCaps = false
        setOnClickListener { click() }
    }

    /** Says whether the microphone is allowed, and asks for it if not. */
    private fun mayRecord(): Boolean {
        val allowed = checkSelfPermission(Manifest.permission.RECORD_AUDIO) == PackageManager.PERMISSION_GRANTED
        if (!allowed) requestPermissions(arrayOf(Manifest.permission.RECORD_AUDIO), 1)
        return allowed
    }

    private fun share(report: ProofReport) {
        val send =
            Intent(Intent.ACTION_SEND)
                .setType("text/plain")
                .putExtra(Intent.EXTRA_SUBJECT, "deploy_bias proof")
                .putExtra(Intent.EXTRA_TEXT, report.toJson())
        startActivity(Intent.createChooser(send, Words.SHARE))
    }

    private companion object {
        const val SHOWN = "shown"
        const val PICKED = "picked"
    }
}
