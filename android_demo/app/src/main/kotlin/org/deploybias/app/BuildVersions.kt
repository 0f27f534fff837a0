package org.deploybias.app

/** What gradle/libs.versions.toml says; the libraries do not tell it themselves. */
internal object BuildVersions {
    const val EXECUTORCH = "1.4.0"
}
