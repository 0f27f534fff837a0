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

    fun start(backend: Backend) =
        start(State(stage = "Copying the bundle")) {
            try {
                val bundle = assets.bundle()
                var shown = ""
                val report =
                    Proof(
                        bundle,
                        backend,
                    ).run("${Build.MANUFACTURER} ${Build.MODEL}, Android ${Build.VERSION.RELEASE}") {
                        if (it != shown) show(State(stage = "Running $it on ${backend.name}"))
                        shown = it
                        goesOn
                    }
                State(report = report)
            } catch (error: Exception) {
                State(problem = said(error))
            }
        }
}
