"""Searches on the shipped encoder frames: ESPnet's eager, and ours alone and many streams at once.

`--batch 8`: the joint network's spare rows look ahead, and streams that are decoded together share
a call. Beside it what a bundle of `--batch 1` takes.
"""

import tempfile
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from espnet2.asr_transducer.beam_search_transducer import BeamSearchTransducer
from executorch.extension.pybindings import portable_lib

from benchmarks.timing import Row, compare
from deploy_bias.export import ExportOptions, export_bundle
from deploy_bias.runtime import Decoder, Joint, load, open_search
from tests.deploy_bias.runtime.search.test_search import espnet
from tests.export.unproven import UnprovenGate

DIGITS = Path(str(files("deploy_bias"))) / "data/digits"
BACKENDS = ("onnx", "executorch")
BATCH = 8
OPTIONS = {"beam_size": 5}
CHUNK = 20
"""Encoder frames of a decoding window of 640 ms."""


def rows() -> list[Row]:
    portable_lib._unsafe_reset_threadpool(1)
    utterances = [np.load(path) for path in sorted((DIGITS / "encoder_out").glob("*.npy"))]
    decoder, joint, _ = espnet(DIGITS)

    @torch.no_grad()
    def theirs(name: str) -> None:
        for frames in utterances:
            BeamSearchTransducer(decoder, joint, search_type=name, **OPTIONS)(
                torch.from_numpy(frames)
            )

    found = []
    with tempfile.TemporaryDirectory() as scratch:
        bundles = {batch: Path(scratch) / str(batch) for batch in (1, BATCH)}
        for batch, folder in bundles.items():
            with patch("deploy_bias.export.bundle.Gate", UnprovenGate):
                export_bundle(DIGITS, folder, ExportOptions(backends=BACKENDS, batch=batch))
        for backend in BACKENDS:
            parts = {batch: _parts(folder, backend) for batch, folder in bundles.items()}
            for name in ("maes", "default"):
                candidates: dict[str, Callable[[], object]] = {
                    "espnet": lambda name=name: theirs(name),
                    **{
                        f"batch {batch}": lambda name=name, own=own: one_by_one(
                            own, name, utterances
                        )
                        for batch, own in parts.items()
                    },
                }
                title = f"{name}, beam 5, {len(utterances)} recordings, {backend}"
                pair = ("espnet", f"batch {BATCH}")
                found.append(compare(title, candidates, pair, at_least=4.0, rounds=7))
            candidates = {
                "one by one, batch 1": lambda own=parts[1]: one_by_one(own, "maes", utterances),
                "one by one": lambda own=parts[BATCH]: one_by_one(own, "maes", utterances),
                "together": lambda own=parts[BATCH]: together(own, "maes", utterances),
            }
            title = f"maes of {len(utterances)} streams, {backend}"
            pair = ("one by one, batch 1", "together")
            found.append(compare(title, candidates, pair, at_least=2.0, rounds=7))
    return found


def _parts(folder: Path, backend: str) -> tuple[Decoder, Joint]:
    graphs = load(folder, backend)
    return Decoder(graphs["decoder"]), Joint(graphs["joint"])


def one_by_one(parts: tuple[Decoder, Joint], name: str, utterances: list[np.ndarray]) -> None:
    for frames in utterances:
        search = open_search(name, *parts, **OPTIONS)
        for first in range(0, len(frames), CHUNK):
            search.accept(frames[first : first + CHUNK])


def together(parts: tuple[Decoder, Joint], name: str, utterances: list[np.ndarray]) -> None:
    searches = [open_search(name, *parts, **OPTIONS) for _ in utterances]
    for first in range(0, max(map(len, utterances)), CHUNK):
        going = [
            search.steps(frames[first : first + CHUNK])
            for search, frames in zip(searches, utterances, strict=True)
            if first < len(frames)
        ]
        searches[0].scorer.run(going)
