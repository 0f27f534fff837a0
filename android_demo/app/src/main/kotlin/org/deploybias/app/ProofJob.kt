package org.deploybias.app

import android.os.Build
import org.deploybias.bundle.Backend
import org.deploybias.bundle.Proof
import org.deploybias.bundle.ProofReport

/** Proves the bundle on a backend. */
class ProofJob(
    private val assets: Assets,
) : Job<ProofJob.State>(State()) {
    /** [stage] is what is being done, [problem] why it could not be. */
    data class State(
        val stage: String? = null,
        val report: ProofReport? = null,
        val problem: String? = null,
    )

    fun start(backend: Backend) {
        begin(State(stage = "Copying the bundle"), { State(problem = said(it)) }) {
            val bundle = assets.bundle()
            val device = "${Build.MANUFACTURER} ${Build.MODEL}, Android ${Build.VERSION.RELEASE}"
            var shown = ""
            val report =
                Proof(bundle, backend).run(device) {
                    if (it != shown) show(State(stage = "Running $it on ${backend.name}"))
                    shown = it
                    goesOn
                }
            State(report = report)
        }
    }
}
