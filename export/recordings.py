"""Recordings with the words that they say, and how many of them a recogniser loses."""

import wave
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np

from deploy_bias.cli.audio import AudioFile
from deploy_bias.cli.recordings import read_manifest, readable
from deploy_bias.errors import SourceError
from deploy_bias.packages import needed
from deploy_bias.runtime import OfflineRecognizer, Recognizer

SPEECH = Path(str(files("deploy_bias"))) / "data/digits/wavs"


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
        blocks = list(AudioFile(recording.file).blocks())
        if not blocks:
            raise SourceError(f"{recording.file}: holds no audio.")
        samples = np.concatenate([block.samples for block in blocks])
        name, rate = recording.file.name, blocks[0].sample_rate
        utterances.append(Utterance(name, recording.words, samples, rate))
    return utterances


def shipped_speech() -> list[Utterance]:
    """Return the recordings that are in the package, without words: any model hears something."""
    utterances = []
    for path in sorted(SPEECH.glob("*.wav")):
        with wave.open(str(path)) as file:
            numbers = np.frombuffer(file.readframes(file.getnframes()), np.int16)
            samples = numbers.astype(np.float32) / 2**15
            utterances.append(Utterance(path.name, "", samples, file.getframerate()))
    return utterances


def hear(recognizer: Recognizer | OfflineRecognizer, utterances: Sequence[Utterance]) -> Heard:
    """Recognise each utterance, and count the errors.

    Raises:
        BackendError: jiwer is not installed.
    """
    with needed("jiwer", "counting word errors"):
        import jiwer
    texts = [recognizer.decode(one.samples, one.sample_rate).text for one in utterances]
    counted = jiwer.process_words([one.words for one in utterances], texts)
    return Heard(
        tuple(texts),
        counted.hits + counted.substitutions + counted.deletions,
        counted.substitutions + counted.deletions + counted.insertions,
    )
