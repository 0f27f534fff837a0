"""A day of streams in fast motion: many short ones in many threads, and the memory at the end.

    python -m benchmarks.short_streams BUNDLE [--streams 100000] [--threads 8]

Each stream is given a piece of a recording in random chunks; some are reset or closed on the way.
Exit status 1 if a result differs from that of the piece alone, or if resident memory at the end is
more than 20 % above that after the first thousand.
"""

import argparse
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import numpy as np

from benchmarks.soak import RATE, recordings, resident_mb
from deploy_bias.runtime import Recognizer

PIECES = 40
GROWTH = 1.2
FIRST = 1000


def pieces() -> list[np.ndarray]:
    """Pieces of recordings, 0.1 to 0.7 s."""
    random, spoken = np.random.default_rng(0), recordings()
    found = []
    for _ in range(PIECES):
        recording = spoken[random.integers(len(spoken))]
        size = int(random.uniform(0.1, 0.7) * RATE)
        begin = int(random.integers(recording.size - size))
        found.append(recording[begin : begin + size])
    return found


def run(recognizer: Recognizer, samples: np.ndarray, expected: object, random: Random) -> str:
    """Return how one stream ended."""
    how = random.choices(("whole", "reset", "closed"), (8, 1, 1))[0]
    with recognizer.create_stream() as stream:
        begin = 0
        while begin < samples.size:
            end = begin + random.randint(1, samples.size)
            stream.accept_waveform(RATE, samples[begin:end])
            begin = end
            while recognizer.is_ready(stream):
                recognizer.decode_stream(stream)
            if how == "closed":
                stream.close()
                return how
            if how == "reset":
                recognizer.reset(stream)
        stream.input_finished()
        while recognizer.is_ready(stream):
            recognizer.decode_stream(stream)
        if how == "whole" and recognizer.get_result(stream) != expected:
            return "wrong"
        return how


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--streams", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=8)
    options = parser.parse_args()
    recognizer = Recognizer(options.bundle)
    speech = pieces()
    expected = [recognizer.decode(samples, RATE) for samples in speech]

    def numbered(seed: int) -> str:
        which = seed % PIECES
        return run(recognizer, speech[which], expected[which], Random(seed))

    outcomes: Counter[str] = Counter()
    begun, first = time.perf_counter(), 0.0
    with ThreadPoolExecutor(options.threads) as threads:
        for seed in range(0, options.streams, FIRST):
            outcomes.update(threads.map(numbered, range(seed, seed + FIRST)))
            first = first or resident_mb()
    last = resident_mb()
    print(
        f"{options.streams} streams, {options.threads} threads, {dict(outcomes)}, "
        f"{time.perf_counter() - begun:.0f} s; resident {first:.1f} MB after the first {FIRST}, "
        f"{last:.1f} MB at the end ({last / first - 1:+.1%})"
    )
    return int(outcomes["wrong"] > 0 or last > GROWTH * first)


if __name__ == "__main__":
    sys.exit(main())
