package org.deploybias.app

import android.annotation.SuppressLint
import android.content.Context
import android.graphics.Typeface
import android.widget.ProgressBar
import android.widget.ScrollView
import org.deploybias.bundle.Backend
import org.deploybias.bundle.DeployBiasError
import java.util.Locale
import kotlin.math.log10

/** Live recognition: pick a backend and the microphone or a recording, see the text grow. */
@SuppressLint("ViewConstructor")
class ListenScreen(
    context: Context,
    private val job: ListenJob,
    private val backends: List<Backend>,
    assets: Assets,
    private val mayRecord: () -> Boolean,
) : Screen(context) {
    private val recordings =
        try {
            assets.recordings
        } catch (_: DeployBiasError) {
            emptyList() // and starting says why
        }
    private val backend = choice(backends.map { it.name })
    private val source = choice(listOf(Words.MICROPHONE) + recordings)
    private val run = button(Words.START) { if (job.isRunning) job.cancel() else begin() }
    private val level =
        ProgressBar(context, null, android.R.attr.progressBarStyleHorizontal).apply {
            max = DECIBELS
        }
    private val factor = text(14f, color = FAINT)
    private val lines = text(22f)
    private val partial = text(22f, Typeface.ITALIC, FAINT)
    private val problem = text(16f, color = BAD)

    init {
        add(row(backend, source))
        add(row(run))
        add(level)
        add(factor)
        add(problem)
        add(
            ScrollView(context).apply {
                addView(
                    android.widget.LinearLayout(context).apply {
                        orientation = VERTICAL
                        addView(lines)
                        addView(partial)
                    },
                )
            },
            1f,
        )
        refresh()
    }

    /** Says that the microphone was refused. */
    fun refused() {
        problem.text = Words.REFUSED
    }

    /** Starts; for the microphone, once it is allowed. */
    fun begin() {
        problem.text = ""
        val chosen = backends[backend.selectedItemPosition]
        val name = recordings.getOrNull(source.selectedItemPosition - 1)
        if (name != null || mayRecord()) job.start(chosen, name)
    }

    override fun refresh() {
        val state = job.state
        backend.isEnabled = !job.isRunning
        source.isEnabled = !job.isRunning
        run.text = if (job.isRunning) Words.STOP else Words.START
        // From silence to the loudest there is, as ears count.
        level.progress = if (state.level <= 0) 0 else (DECIBELS + 20 * log10(state.level)).toInt().coerceIn(0, DECIBELS)
        val measured = state.realTimeFactor?.let { String.format(Locale.ROOT, "real-time factor %.3f", it) }
        factor.text = state.stage ?: measured ?: Words.SAY
        lines.text = state.lines.joinToString("\n")
        partial.text = state.partial
        state.problem?.let { problem.text = it }
    }

    private companion object {
        const val DECIBELS = 60
    }
}
