package org.deploybias.bundle

/**
 * How streaming cuts an utterance into chunks of feature frames; deploy_bias.chunking in Python.
 *
 * Frame t is the [nFft] samples around sample t * [hopLength].
 */
internal class Chunking(
    val nFft: Int,
    val hopLength: Int,
    val decodingWindow: Int,
    subsamplingFactor: Int,
) {
    /** The samples that are reflected at either edge of an utterance. */
    val edge = nFft / 2

    /** The frames at the start of a chunk that end the chunk before it. */
    val carried = 2 * subsamplingFactor + 3

    /** How many frames so many samples complete, when more may follow. */
    fun complete(samples: Long): Long = maxOf(0L, Math.floorDiv(samples + edge - nFft, hopLength.toLong()) + 1)

    /** How many zeros follow an utterance of so many samples. */
    fun silence(samples: Long): Int {
        val whole = samples - samples % decodingWindow
        val hops = maxOf(0L, whole - nFft + hopLength) / hopLength
        return maxOf(0L, hops * hopLength + decodingWindow - samples).toInt()
    }

    /** How many frames an utterance of so many samples has, its silence included. */
    fun total(samples: Long): Long {
        if (samples < decodingWindow) return complete(decodingWindow.toLong())
        val padded = samples + silence(samples)
        return (padded + 2 * edge - nFft) / hopLength + 1
    }
}
