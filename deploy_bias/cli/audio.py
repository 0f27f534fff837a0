"""Audio for the commands, in blocks: from files by soundfile, from a microphone by sounddevice."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deploy_bias.errors import BackendError, SourceError
from deploy_bias.packages import needed

BLOCK_SECONDS = 0.1


@dataclass(frozen=True)
class Block:
    """samples: (any number,) float32, one channel, the average of those there were."""

    sample_rate: int
    samples: np.ndarray

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.samples.size / self.sample_rate


def read_blocks(path: Path) -> Iterator[Block]:
    """Read an audio file: wav, flac, mp3 and whatever libsndfile reads, at any rate.

    Raises:
        SourceError: the file is missing, a folder, no audio or damaged.
        BackendError: soundfile is not installed.
    """
    with needed("soundfile", "reading audio"):
        import soundfile
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no such file"
        raise SourceError(f"{path}: {what}; expected an audio file.")
    try:
        with soundfile.SoundFile(path) as file:
            size = max(1, round(file.samplerate * BLOCK_SECONDS))
            while (samples := file.read(size, dtype="float32", always_2d=True)).size:
                yield Block(file.samplerate, samples.mean(axis=1))
    except soundfile.LibsndfileError as error:
        raise SourceError(
            f"{path}: cannot be read as audio ({error.error_string.rstrip('.')}); expected wav, "
            "flac, mp3 or another format that libsndfile reads."
        ) from error


def microphone_blocks() -> Iterator[Block]:
    """Listen to the default input device, without end.

    Raises:
        BackendError: sounddevice or the library that it needs is not installed, or there is no
            device that listens.
    """
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        raise BackendError(
            f"--microphone needs sounddevice and PortAudio ({error}): pip install "
            "'deploy-bias[microphone]', and on Linux the system's package of PortAudio."
        ) from error
    try:
        rate = round(sounddevice.query_devices(kind="input")["default_samplerate"])
        with sounddevice.InputStream(samplerate=rate, channels=1, dtype="float32") as device:
            while True:
                samples, _ = device.read(round(rate * BLOCK_SECONDS))
                yield Block(rate, samples[:, 0])
    except (sounddevice.PortAudioError, ValueError) as error:
        raise BackendError(
            f"--microphone: no input device can be opened ({error}); connect one, or name audio "
            "files."
        ) from error
