"""Mutated audio files and manifests: audio, a warning or one error; the time and memory they take.

Time is what this process computed, since others may use the machine.

python -m benchmarks.mutations 5000
"""

import json
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

import numpy as np

from deploy_bias.cli.audio import AudioFile
from deploy_bias.cli.recordings import read_manifest
from deploy_bias.errors import DeployBiasError
from tests.deploy_bias.cli.audio import encoded, mutated

RATE = 8000
MANIFEST = "".join(f"wavs/{n}.wav\tone two {n}\n" for n in range(20)).encode()


def main() -> None:
    """Print a line for each kind of file."""
    count = int(sys.argv[1])
    samples = np.random.default_rng(0).normal(0, 0.1, 5 * RATE).astype(np.float32)
    for kind in ("wav", "flac", "ogg", "opus", "mp3", "manifest"):
        whole = MANIFEST if kind == "manifest" else encoded(samples, RATE, kind)
        print(json.dumps({"kind": kind, "count": count, **_run(kind, whole, count)}))


def _run(kind: str, whole: bytes, count: int) -> dict[str, object]:
    outcomes: Counter[str] = Counter()
    slowest, random = 0.0, Random(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mutated"
        for _ in range(count):
            path.write_bytes(mutated(whole, random))
            begun = time.process_time()
            outcomes[_outcome(kind, path)] += 1
            slowest = max(slowest, time.process_time() - begun)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"outcomes": outcomes, "slowest_cpu_s": round(slowest, 3), "peak_mb": round(peak)}


def _outcome(kind: str, path: Path) -> str:
    try:
        if kind == "manifest":
            read_manifest(path)
            return "read"
        audio = AudioFile(path)
        for _ in audio.blocks():
            pass
    except DeployBiasError:
        return "error"
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:99]
    return "warning" if audio.warnings else "audio"


if __name__ == "__main__":
    main()
