package org.deploybias.app

/** What the screens say. In code: the views are made in code too, so that they build without the SDK. */
internal object Words {
    const val TITLE = "deploy_bias"
    const val PROOF = "Proof"
    const val LISTEN = "Listen"
    const val RUN = "Run"
    const val CANCEL = "Cancel"
    const val SHARE = "Share the report"
    const val START = "Start"
    const val STOP = "Stop"
    const val MICROPHONE = "Microphone"
    const val PROVEN = "Every graph computes what the eager model computed."
    const val FAILED = "A graph does not compute what the eager model computed."
    const val CANCELLED = "Cancelled."
    const val REFUSED = "Without the microphone only the recordings can be heard. Allow it in the settings of the app."
    const val SAY = "Say a few digits."
    val COLUMNS = listOf("graph", "steps", "max error", "median", "95 %", "verdict")
}
