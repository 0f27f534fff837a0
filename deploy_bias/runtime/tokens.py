"""From labels to text."""

from collections.abc import Iterable, Sequence
from typing import Any

from deploy_bias.bundle import Bundle
from deploy_bias.errors import BundleError, OptionError
from deploy_bias.runtime.pieces import Pieces

WORD_START, SPACE = "▁", "<space>"


class Tokens:
    """The tokens of a bundle, by label.

    Args:
        bundle: with a decoder in it.

    Raises:
        BundleError: it has no tokens, or they are damaged.
    """

    def __init__(self, bundle: Bundle) -> None:
        file = bundle.manifest.tokens
        if file is None:
            raise BundleError(
                f"{bundle.folder}: holds biases alone, nothing to decode with; export the whole "
                "experiment."
            )
        lines = bundle.read(file).decode().removesuffix("\n").split("\n")
        self._tokens = [line.rpartition(" ")[0] for line in lines]
        self._numbers = {token: label for label, token in enumerate(self._tokens)}
        # As ESPnet's tokenizers join them.
        kind = bundle.manifest.token_type
        pieces = any(token.startswith(WORD_START) for token in self._tokens)
        characters = SPACE in self._tokens
        self._kind = kind or ("bpe" if pieces else "char" if characters else "word")
        model = bundle.manifest.bpe_model
        self._bpe = None if model is None else (bundle.read(model), str(bundle.folder / model.path))
        self._sentencepiece = (
            None
            if model is None
            else _sentencepiece(bundle.read(model), str(bundle.folder / model.path))
        )

    def __getitem__(self, label: int) -> str:
        return self._tokens[label]

    def __len__(self) -> int:
        return len(self._tokens)

    def text(self, labels: Iterable[int]) -> str:
        """Return the text of labels."""
        tokens = [self._tokens[label] for label in labels]
        if self._sentencepiece is not None:
            return str(self._sentencepiece.DecodePieces(tokens))
        if self._kind == "bpe":
            return "".join(tokens).replace(WORD_START, " ").strip()
        if self._kind == "char":
            return "".join(" " if token == SPACE else token for token in tokens)
        if self._kind == "phn":
            return "".join(tokens)
        return " ".join(tokens)

    def labels(self, text: str) -> tuple[int, ...]:
        """Return the labels that a text is spelt with, as the training data was.

        Pieces by the bundle's own bpe.model; words, or phones with spaces between; characters.

        Raises:
            OptionError: it cannot be spelt.
        """
        parts: Sequence[str] | None = text.split()
        if self._kind == "bpe":
            if self._bpe is None:
                raise OptionError(
                    f"{text!r} cannot be spelt: the bundle holds no bpe.model; put it where "
                    "config.yaml says, and export again."
                )
            parts = Pieces(*self._bpe).spell(text)
        elif self._kind == "char":
            parts = [SPACE if c == " " else c for c in " ".join(text.split())]
        unknown = [part for part in parts or () if part not in self._numbers]
        if not parts or unknown:
            what = f"has no token {unknown[0]!r}" if unknown else "has no tokens for it"
            raise OptionError(
                f"{text!r} cannot be spelt: the model {what}; upper and lower case count."
            )
        return tuple(self._numbers[part] for part in parts)

    def words(self, labels: Sequence[int]) -> list[slice]:
        """Return where each word of the text of labels is among them.

        Words are what spaces part; the text of phones has none.
        """
        found: list[slice] = []
        begun: int | None = None
        for place, label in enumerate(labels):
            token = self._tokens[label]
            space = self._kind == "char" and token == SPACE
            starts = self._kind == "word" or (self._kind == "bpe" and token.startswith(WORD_START))
            if begun is not None and (space or starts):
                found.append(slice(begun, place))
                begun = None
            if begun is None and not space:
                begun = place
        if begun is not None:
            found.append(slice(begun, len(labels)))
        return [word for word in found if self.text(labels[word]).strip()]


def _sentencepiece(model: bytes, where: str) -> Any:
    """Load a model that joins pieces, or return None where sentencepiece is not installed."""
    try:
        import sentencepiece
    except ImportError:
        # Pieces can be joined without it; what it adds are bytes and its own normalisation.
        return None
    try:
        return sentencepiece.SentencePieceProcessor(model_proto=model)
    except RuntimeError as error:
        raise BundleError(f"{where}: no sentencepiece model; export again.") from error
