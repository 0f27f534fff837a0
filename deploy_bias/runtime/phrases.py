"""Hotwords as people write them, and as labels. No torch here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from deploy_bias.errors import OptionError, SourceError
from deploy_bias.files import read_lines
from deploy_bias.runtime.search import Hotwords
from deploy_bias.runtime.search.hotwords import check_boost
from deploy_bias.runtime.tokens import Tokens

BOOST = 1.5
"""For each token, if nothing is said: sherpa-onnx's."""

Phrases = Mapping[str, float] | Iterable[str]
"""Phrases with their boosts for each token; or lines as in a file, see `read_phrases`."""


def read_phrases(path: Path) -> dict[str, float]:
    """Read a file of hotwords, as sherpa-onnx has them: a phrase in each line, and its boost.

    A line is `PHRASE` or `PHRASE :BOOST`, the boost for each token, natural logarithm.

    Raises:
        SourceError: the file is missing, no text or empty.
        OptionError: a boost is no number above 0.
    """
    found = parse_phrases(read_lines(path, "a hotword in each line"))
    if not found:
        raise SourceError(
            f"{path}: empty; expected a hotword in each line, as PHRASE or PHRASE :2."
        )
    return found


def parse_phrases(phrases: Phrases) -> dict[str, float]:
    """Return phrases with their boosts.

    Raises:
        OptionError: a boost is no number above 0, or they are of another type.
    """
    if isinstance(phrases, Mapping):
        found = dict(phrases)
    elif isinstance(phrases, str) or not isinstance(phrases, Iterable):
        raise OptionError(
            f"hotwords must be a list of phrases or phrases with boosts, got {phrases!r}."
        )
    else:
        found = dict(_line(line) for line in phrases if line.strip())
    for phrase, boost in found.items():
        try:
            check_boost(boost)
        except OptionError as error:
            raise OptionError(f"hotword {phrase!r}: {error}") from error
    return found


def spell(tokens: Tokens, phrases: Phrases) -> Hotwords:
    """Return hotwords by their labels.

    Raises:
        OptionError: a phrase cannot be spelt with the tokens, or its boost is no number above 0.
    """
    return Hotwords(
        (tokens.labels(phrase), boost) for phrase, boost in parse_phrases(phrases).items()
    )


def _line(line: str) -> tuple[str, float]:
    phrase, colon, boost = line.rpartition(" :")
    if not colon:
        return line.strip(), BOOST
    try:
        return phrase.strip(), float(boost)
    except ValueError as error:
        raise OptionError(
            f"hotword {phrase.strip()!r}: the boost of a hotword must be a number above 0, got "
            f"{boost!r}."
        ) from error
