package org.deploybias.bundle

/** The tokens of a bundle, by label. */
class Tokens(
    bundle: Bundle,
) {
    private val tokens: List<String>
    private val pieces: Boolean
    private val characters: Boolean

    init {
        val file =
            bundle.manifest.tokens
                ?: throw BundleError(
                    "${bundle.folder}: holds biases alone, nothing to decode with; export the whole experiment.",
                )
        val text = String(bundle.read(file), Charsets.UTF_8)
        tokens = text.removeSuffix("\n").split("\n").map { it.substringBeforeLast(" ") }
        // As ESPnet's tokenizers join them: pieces of words, characters, or words.
        val kind = bundle.manifest.tokenType
        pieces = kind == "bpe" || tokens.any { it.startsWith(WORD_START) }
        characters = kind == "char" || SPACE in tokens
    }

    val size: Int get() = tokens.size

    operator fun get(label: Int): String = tokens[label]

    /** The text of labels. Pieces are joined where words start, as in Python without sentencepiece. */
    fun text(labels: List<Int>): String {
        val found = labels.map { tokens[it] }
        return when {
            pieces -> found.joinToString("").replace(WORD_START, " ").trim()
            characters -> found.joinToString("") { if (it == SPACE) " " else it }
            else -> found.joinToString(" ")
        }
    }

    /** Where each word of the text of labels is among them: words are what spaces part. */
    fun words(labels: List<Int>): List<IntRange> {
        val found = ArrayList<IntRange>()
        var begun = -1

        fun end(at: Int) {
            if (begun >= 0 && text(labels.subList(begun, at)).isNotBlank()) found += begun until at
            begun = -1
        }
        labels.forEachIndexed { at, label ->
            val space = !pieces && characters && tokens[label] == SPACE
            val starts = if (pieces) tokens[label].startsWith(WORD_START) else !characters
            if (space || starts) end(at)
            if (begun < 0 && !space) begun = at
        }
        end(labels.size)
        return found
    }

    private companion object {
        const val WORD_START = "▁"
        const val SPACE = "<space>"
    }
}
