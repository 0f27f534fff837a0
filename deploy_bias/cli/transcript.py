"""What is recognised of an audio file, and how. No torch here."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from deploy_bias.cli.audio import AudioFile
from deploy_bias.errors import ContractError, SourceError
from deploy_bias.runtime import OfflineRecognizer, Recognition, Recognizer

Show = Callable[[Recognition], None]


@dataclass(frozen=True)
class Transcript:
    """What was recognised.

    seconds: of audio. computed: seconds that it took, without waiting. warnings: what the audio
    lacks. interrupted: whether Ctrl-C came before its end.
    """

    file: Path
    recognition: Recognition
    seconds: float
    computed: float
    warnings: tuple[str, ...]
    interrupted: bool = False

    @property
    def real_time_factor(self) -> float | None:
        """Seconds of computation for a second of audio; None if there was no audio."""
        return self.computed / self.seconds if self.seconds else None

    def content(self) -> dict[str, Any]:
        """Return it for a program."""
        times = {"seconds": self.seconds, "real_time_factor": self.real_time_factor}
        warnings = list(self.warnings)
        return {"file": str(self.file), **asdict(self.recognition), **times, "warnings": warnings}

    def reports(self) -> list[tuple[str, str]]:
        """Return what a person should know of it: the kind and a line."""
        return [("warning", f"{self.file}: {warning}") for warning in self.warnings]


@dataclass(frozen=True)
class Failure:
    """A file that could not be recognised."""

    file: Path
    error: str

    def content(self) -> dict[str, Any]:
        """Return it for a program."""
        return {"file": str(self.file), "error": self.error}

    def reports(self) -> list[tuple[str, str]]:
        """Return what a person should know of it: the kind and a line."""
        return [("error", self.error)]


class Interruption(KeyboardInterrupt):
    """Ctrl-C while a file was recognised. transcript: what was recognised of it."""

    def __init__(self, transcript: Transcript) -> None:
        super().__init__()
        self.transcript = transcript


def transcribe(
    recognizer: Recognizer | OfflineRecognizer,
    path: Path,
    *,
    show: Show | None = None,
    latencies: list[float] | None = None,
) -> Transcript:
    """Recognise a file as one utterance.

    Args:
        recognizer: of a bundle.
        path: an audio file.
        show: is given each result that more audio has changed, in the time of the audio.
        latencies: the seconds that each decoding window takes, or offline the utterance, are added
            here.

    Raises:
        SourceError: the file is missing, no audio or damaged, or holds NaN or infinity.
        BackendError: a package that reads or resamples is not installed.
        Interruption: Ctrl-C came.
    """
    seconds = computed = 0.0
    begun = time.perf_counter()
    audio = AudioFile(path)
    with recognizer.create_stream() as stream:
        try:
            for block in chain(audio.blocks(), [None]):
                start = time.perf_counter()
                if block is None:
                    stream.input_finished()
                else:
                    try:
                        stream.accept_waveform(block.sample_rate, block.samples)
                    except ContractError as error:
                        raise SourceError(f"{path}, from {seconds:.1f} s on: {error}") from error
                    seconds += block.seconds
                while recognizer.is_ready(stream):
                    before = time.perf_counter()
                    recognizer.decode_stream(stream)
                    if latencies is not None:
                        latencies.append(time.perf_counter() - before)
                computed += time.perf_counter() - start
                if show is not None:
                    show(recognizer.get_result(stream))
                    time.sleep(max(0.0, begun + seconds - time.perf_counter()))
        except KeyboardInterrupt:
            heard, warning = recognizer.get_result(stream), f"interrupted at {seconds:.1f} s."
            transcript = Transcript(path, heard, seconds, computed, (warning,), interrupted=True)
            raise Interruption(transcript) from None
        result = recognizer.get_result(stream)
        return Transcript(path, result, seconds, computed, tuple(audio.warnings))
