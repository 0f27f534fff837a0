"""Hours of audio through one stream: memory and time must stay what they are after minutes.

    python -m benchmarks.soak BUNDLE [--hours 10] [--backend onnx] [--search greedy] [--silence]

Feeds the shipped recordings in random order, with random pauses, as fast as they are decoded, and
prints resident memory and the time of a decoding window for each hour of audio. An endpoint begins
a new utterance, as an application would; `--silence` is zeros without one. Exit status 1 if memory
grew by more than 5 MB after the first tenth.
"""

import argparse
import resource
import sys
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import numpy as np
import soundfile
from rich.console import Console
from rich.table import Table

from deploy_bias.runtime import Recognizer

RATE = 8000
GROWTH_MB = 5.0


def resident_mb() -> float:
    """Resident memory of this process now, by Linux."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def recordings() -> list[np.ndarray]:
    """What the package holds."""
    folder = Path(str(files("deploy_bias"))) / "data/digits/wavs"
    return [soundfile.read(path, dtype="float32")[0] for path in sorted(folder.glob("*.wav"))]


def silence() -> Iterator[np.ndarray]:
    """Zeros without end."""
    while True:
        yield np.zeros(RATE, np.float32)


def audio(seed: int) -> Iterator[np.ndarray]:
    """Recordings and pauses without end."""
    random, spoken = np.random.default_rng(seed), recordings()
    while True:
        yield spoken[random.integers(len(spoken))]
        pause = random.normal(0, 1e-4, int(RATE * random.uniform(0.2, 3.0)))
        yield pause.astype(np.float32)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--hours", type=float, default=10.0)
    parser.add_argument("--backend", default="onnx")
    parser.add_argument("--search", default="greedy")
    parser.add_argument("--silence", action="store_true", help="zeros, and never a reset")
    options = parser.parse_args()
    recognizer = Recognizer(options.bundle, options.backend, options.search, lead_in=0)
    # Ten rows, of an hour each by default.
    every = options.hours * 3600 / 10
    table = Table(title=f"{options.hours:g} hours on {options.backend}, {options.search}")
    for heading in ("hours", "MB resident", "ms a window, p50", "p99", "mean CPU", "utterances"):
        table.add_column(heading, justify="right")
    measured: list[float] = []
    latencies: list[float] = []
    utterances, seconds, row_began = 0, 0.0, time.process_time()
    with recognizer.create_stream() as stream:
        for samples in silence() if options.silence else audio(seed=0):
            stream.accept_waveform(RATE, samples)
            seconds += samples.size / RATE
            while recognizer.is_ready(stream):
                begun = time.perf_counter()
                recognizer.decode_stream(stream)
                latencies.append(time.perf_counter() - begun)
                if not options.silence and recognizer.is_endpoint(stream):
                    utterances += bool(recognizer.get_result(stream).text)
                    recognizer.reset(stream)
            if seconds >= every * (len(measured) + 1):
                measured.append(resident_mb())
                p50, p99 = np.percentile(latencies, (50, 99)) * 1000
                # Others may use the machine: what this process computed tells more than a clock.
                mean = (time.process_time() - row_began) / len(latencies) * 1000
                cells = (seconds / 3600, measured[-1], p50, p99, mean)
                table.add_row(*(f"{cell:.2f}" for cell in cells), str(utterances))
                latencies.clear()
                row_began = time.process_time()
            if len(measured) == 10:
                break
    Console().print(table)
    growth = max(measured[1:]) - measured[0]
    print(f"memory after the first tenth: {growth:+.2f} MB at most")
    return int(growth > GROWTH_MB)


if __name__ == "__main__":
    sys.exit(main())
