"""Wav files that are whole, cut or odd, and what Python reads and hears in each.

wavs/*.wav        of 16 bits and one channel, which is what the demos read
wavs.safetensors  the samples that Python reads, by name
wavs.json         rate, warnings and text; null where Python has an error
"""

import json
import struct
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from deploy_bias.cli.audio import AudioFile
from deploy_bias.errors import SourceError
from deploy_bias.runtime import Recognizer


def cases(samples: bytes, rate: int) -> dict[str, bytes]:
    """Return files of the same samples, 16 bits each, by name."""
    form = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, rate, 2 * rate, 2, 16))
    data = chunk(b"data", samples)
    odd = chunk(b"JUNK", b"odd") + b"\0"
    whole = riff(form + data)

    def killed(size: int) -> bytes:
        return riff(form + b"data" + struct.pack("<I", size) + samples)

    return {
        "whole": whole,
        "odd chunk before": riff(form + odd + data),
        "odd chunk behind": riff(form + data + odd),
        "killed 0": killed(0),
        "killed ffffffff": killed(0xFFFFFFFF),
        "killed 7fffffff": killed(0x7FFFFFFF),
        "killed 7fff0000": killed(0x7FFF0000),
        "cut by a second": whole[: -2 * rate],
        "cut by half": whole[: len(whole) // 2],
        "cut by a sample": whole[:-2],
        "cut in a sample": whole[:-1],
        "no samples": riff(form + chunk(b"data", b"")),
        "header alone": whole[:30],
        "no chunk": whole[:12],
        "empty": b"",
        "another file": b"no audio",
        "no data": riff(form),
    }


def chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content


def riff(chunks: bytes) -> bytes:
    return chunk(b"RIFF", b"WAVE" + chunks)


def write_wavs(folder: Path, recognizer: Recognizer, spoken: np.ndarray) -> None:
    """Write them all; spoken: samples (S,) float32 at the recogniser's rate."""
    (folder / "wavs").mkdir()
    expected: dict[str, object] = {}
    tensors = {}
    pcm = np.round(spoken * 32768).astype("<i2").tobytes()
    for name, content in cases(pcm, recognizer.sample_rate).items():
        path = folder / "wavs" / f"{name}.wav"
        path.write_bytes(content)
        audio = AudioFile(path)
        try:
            blocks = list(audio.blocks())
        except SourceError:
            expected[name] = None
            continue
        samples = np.concatenate([np.zeros(0, np.float32), *(block.samples for block in blocks)])
        found = recognizer.decode(samples, recognizer.sample_rate)
        tensors[name] = samples
        expected[name] = {
            "rate": recognizer.sample_rate,
            "warnings": audio.warnings,
            "text": found.text,
            "labels": found.labels,
        }
    save_file(tensors, folder / "wavs.safetensors")
    (folder / "wavs.json").write_text(json.dumps(expected, indent=1))
