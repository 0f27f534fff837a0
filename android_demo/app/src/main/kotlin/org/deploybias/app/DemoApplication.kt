package org.deploybias.app

import android.app.Application
import org.deploybias.bundle.Backend
import org.deploybias.bundle.OnnxBackend
import java.io.InputStream

/** What outlives a screen that is turned: the assets, the runtimes and the two jobs. */
open class DemoApplication : Application() {
    val assetFiles by lazy { Assets(filesDir, ::asset) }

    val backends: List<Backend> by lazy { listOf(OnnxBackend(), ExecuTorchBackend()) }

    protected open fun asset(path: String): InputStream = assets.open(path)

    val proof by lazy { ProofJob(assetFiles) }
    val listening by lazy { ListenJob(assetFiles) }
}
