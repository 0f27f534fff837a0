"""Recordings with the words that they say, and how many of them a recogniser loses."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deploy_bias.cli.assets import WAVS
from deploy_bias.cli.audio import AudioFile
from deploy_bias.cli.recordings import count_errors, read_manifest, readable
from deploy_bias.errors import SourceError
from deploy_bias.runtime import OfflineRecognizer, Recognizer


@dataclass(frozen=True)
class Utterance:
    """name: of its file. words: what it says. samples: (any number,) float32. sample_rate: Hz."""

    name: str
    words: str
    samples: np.ndarray
    sample_rate: float


@dataclass(frozen=True)
class Heard:
    """What was recognised of some utterances.

    texts: of each. words: how many they say. errors: substitutions, deletions and insertions.
    """

    texts: tuple[str, ...]
    words: int
    errors: int

    @property
    def word_error_rate(self) -> float:
        """Errors for each word that is said."""
        return self.errors / self.words


def read_utterances(manifest: Path) -> list[Utterance]:
    """Read the audio and the words of a manifest; see `deploy_bias.cli.recordings`.

    Raises:
        SourceError: the manifest or a recording cannot be read, or no word is said.
        BackendError: a package that reads audio is not installed.
    """
    recordings = read_manifest(manifest)
    found, reports = readable(recordings)
    if len(found) < len(recordings):
        raise SourceError(next(text for kind, text in reports if kind == "error"))
    if not any(recording.words for recording in recordings):
        raise SourceError(f"{manifest}: has no words; expected a file, a tab and its words.")
    utterances = []
    for recording in found:
        audio = AudioFile(recording.file).read()
        name = recording.file.name
        utterances.append(Utterance(name, recording.words, audio.samples, audio.sample_rate))
    return utterances


def shipped_speech() -> list[Utterance]:
    """Return the recordings that are in the package, without words: any model hears something."""
    blocks = {path.name: AudioFile(path).read() for path in sorted(WAVS.glob("*.wav"))}
    return [Utterance(name, "", audio.samples, audio.sample_rate) for name, audio in blocks.items()]


def hear(recognizer: Recognizer | OfflineRecognizer, utterances: Sequence[Utterance]) -> Heard:
    """Recognise each utterance, and count the errors.

    Raises:
        BackendError: jiwer is not installed.
    """
    texts = [recognizer.decode(one.samples, one.sample_rate).text for one in utterances]
    errors = count_errors([one.words for one in utterances], texts)
    return Heard(tuple(texts), errors.words, errors.total)
