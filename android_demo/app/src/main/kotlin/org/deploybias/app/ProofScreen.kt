package org.deploybias.app

import android.annotation.SuppressLint
import android.content.Context
import android.graphics.Typeface
import android.view.Gravity
import android.view.View
import android.widget.HorizontalScrollView
import android.widget.ProgressBar
import android.widget.ScrollView
import android.widget.TableLayout
import android.widget.TableRow
import android.widget.TextView
import org.deploybias.bundle.Backend
import org.deploybias.bundle.ProofReport
import org.deploybias.bundle.ProofRow
import java.util.Locale

/** Proves the bundle on this device: pick a backend, run it, see the table, share the report. */
@SuppressLint("ViewConstructor")
class ProofScreen(
    context: Context,
    private val job: ProofJob,
    private val backends: List<Backend>,
    private val share: (ProofReport) -> Unit,
) : Screen(context) {
    private val backend = choice(backends.map { it.name })
    private val run =
        button(Words.RUN) { if (job.isRunning) job.cancel() else job.start(backends[backend.selectedItemPosition]) }
    private val progress =
        ProgressBar(context, null, android.R.attr.progressBarStyleHorizontal).apply {
            isIndeterminate =
                true
        }
    private val verdict = text(18f, Typeface.BOLD)
    private val details = text(14f, color = FAINT)
    private val table = TableLayout(context).apply { isShrinkAllColumns = false }
    private val shareButton = button(Words.SHARE) { job.state.report?.let(share) }

    init {
        add(row(backend, run))
        add(progress)
        add(verdict)
        add(details)
        add(ScrollView(context).apply { addView(HorizontalScrollView(context).apply { addView(table) }) }, 1f)
        add(shareButton)
        refresh()
    }

    override fun refresh() {
        val state = job.state
        val report = state.report
        backend.isEnabled = !job.isRunning
        run.text = if (job.isRunning) Words.CANCEL else Words.RUN
        progress.visibility = if (job.isRunning) View.VISIBLE else View.INVISIBLE
        shareButton.isEnabled = report != null && !job.isRunning
        verdict.text = state.problem ?: state.stage ?: report?.let(::said).orEmpty()
        verdict.setTextColor(
            when {
                state.problem != null || report?.passed == false -> BAD
                report != null -> GOOD
                else -> INK
            },
        )
        details.text = report?.let { "${it.runtime}\n${it.device}" }.orEmpty()
        table.removeAllViews()
        if (report == null) return
        table.addView(line(Words.COLUMNS, Typeface.BOLD, INK))
        for (found in report.rows) {
            table.addView(line(cells(found), Typeface.NORMAL, if (found.passed) INK else BAD))
            found.problem?.let { problem ->
                // A cell of its own would make the first column as wide as the text.
                val width = resources.displayMetrics.widthPixels - dp(32)
                table.addView(
                    text(13f, color = BAD).apply {
                        text = problem
                        maxWidth = width
                    },
                )
            }
        }
    }

    private fun said(report: ProofReport): String =
        when {
            report.passed -> Words.PROVEN
            report.cancelled -> Words.CANCELLED
            else -> Words.FAILED
        }

    private fun cells(row: ProofRow): List<String> =
        listOf(
            row.graph,
            "${row.steps}",
            row.maxAbsError?.let { String.format(Locale.ROOT, "%.1e", it) } ?: "not finite",
            String.format(Locale.ROOT, "%.3f ms", row.medianMs),
            String.format(Locale.ROOT, "%.3f ms", row.percentile95Ms),
            if (row.passed) "pass" else "FAIL",
        )

    private fun line(
        cells: List<String>,
        style: Int,
        color: Int,
    ) = TableRow(context).apply {
        for ((column, cell) in cells.withIndex()) {
            val view: TextView = text(14f, style, color)
            view.text = cell
            view.gravity = if (column in 1..4) Gravity.END else Gravity.START
            view.setPadding(0, dp(6), dp(14), dp(6))
            addView(view)
        }
    }
}
