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

    private companion object {
        const val WORD_START = "▁"
        const val SPACE = "<space>"
    }
}
