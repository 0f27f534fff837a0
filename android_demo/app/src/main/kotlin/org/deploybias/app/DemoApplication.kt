package org.deploybias.app

import android.app.Application
import org.deploybias.bundle.Backend
import org.deploybias.bundle.OnnxBackend

/** What outlives a screen that is turned: the assets, the runtimes and the two jobs. */
open class DemoApplication : Application() {
    val assetFiles by lazy { Assets(this) }

    open val backends: List<Backend> by lazy { listOf(OnnxBackend(), ExecuTorchBackend()) }

    val proof by lazy { ProofJob(assetFiles) }
    val listening by lazy { ListenJob(assetFiles) }
}
