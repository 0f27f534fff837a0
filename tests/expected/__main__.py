"""Write what the tests of android_demo and web_demo expect: a bundle, and what Python makes of it.

python -m tests.expected FOLDER

bundle/           the demo model, for ONNX Runtime and ExecuTorch, in fp32 and int8
recordings/*.wav  the shipped recordings
recordings.json   what Python's Recognizer hears in each, on ONNX Runtime
rollout.safetensors  labels, outputs and states (of a window its newest row) of a decoder on ONNX
                     Runtime, past three windows
wavs*             whole, cut and odd files, and what Python reads and hears: see wavs.py
errors.json       Python's message for each bundle that is broken in some way
schema.json       Python's message for each manifest that is against the schema
assets/           what `deploy-bias android` puts into the app
"""

import json
import shutil
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import onnxruntime
import soundfile
from safetensors.numpy import save_file

from deploy_bias.bundle import MANIFEST, Bundle
from deploy_bias.bundle.bundle import parse
from deploy_bias.bundle.contract import Append
from deploy_bias.bundle.manifest import Manifest
from deploy_bias.cli.android import write_assets
from deploy_bias.errors import BundleError, DeployBiasError
from deploy_bias.export import ExportOptions, export_bundle
from deploy_bias.runtime import Decoder, Recognizer, load
from tests.expected.hear import utterances
from tests.expected.wavs import write_wavs

Keys = tuple[str | int, ...]
DIGITS = Path(str(files("deploy_bias"))) / "data/digits"
OPTIONS = ExportOptions(backends=["onnx", "executorch"], precisions=["fp32", "int8"])
STEPS = 400


def main(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    export_bundle(DIGITS, folder / "bundle", OPTIONS)
    shutil.copytree(DIGITS / "wavs", folder / "recordings")
    recordings = {
        "onnxruntime": onnxruntime.__version__,
        "heard": hear(Recognizer(folder / "bundle")),
        "heard_int8": hear(Recognizer(folder / "bundle", precision="int8")),
    }
    write(folder / "recordings.json", recordings)
    write_wavs(folder, Recognizer(folder / "bundle"), read(DIGITS / "wavs/prompts_3.wav"))
    save_file(rollout(folder / "bundle"), folder / "rollout.safetensors")
    write(folder / "errors.json", errors(folder))
    write(folder / "schema.json", against_schema(folder))
    write_assets(Bundle(folder / "bundle"), folder / "assets")


def hear(recognizer: Recognizer) -> dict[str, object]:
    heard: dict[str, object] = {}
    for path in sorted((DIGITS / "wavs").glob("*.wav")):
        samples = read(path)
        found = recognizer.decode(samples, recognizer.sample_rate)
        heard[path.name] = {
            "text": found.text,
            "tokens": found.tokens,
            "labels": found.labels,
            "timestamps": found.timestamps,
            "score": found.score,
            "log_probs": found.log_probs,
            "words": [[word.text, word.start, word.end, word.confidence] for word in found.words],
            "confidence": found.confidence,
            "utterances": [one.text for one in utterances(recognizer, samples)],
        }
    return heard


def read(path: Path) -> np.ndarray:
    samples: np.ndarray = soundfile.read(path, dtype="float32")[0]
    return samples


def rollout(bundle: Path) -> dict[str, np.ndarray]:
    decoder = Decoder(load(bundle)["decoder"])
    labels = np.random.default_rng(29).integers(decoder.vocab_size, size=STEPS)
    found: dict[str, list[np.ndarray]] = {"decoder_out": []}
    with decoder.stream() as stream:
        state = stream.start()
        for label in labels:
            outs, (state,) = stream.step([state], [int(label)])
            inputs = state.space.inputs([state])
            found["decoder_out"].append(outs[0])
            for rule in decoder.graph.contract.state:
                array = inputs[rule.input]
                newest = array[:, -1] if isinstance(rule, Append) else array
                found.setdefault(rule.input, []).append(newest.copy())
    return {"label": labels, **{name: np.stack(arrays) for name, arrays in found.items()}}


def errors(folder: Path) -> list[dict[str, str]]:
    """Break copies of the bundle and note what Python says."""
    found = []
    for name, change in FAULTS.items():
        broken = folder / "faults" / name
        shutil.copytree(folder / "bundle", broken)
        change(broken)
        try:
            load(Bundle(broken), "onnx")
        except DeployBiasError as error:
            message = str(error).replace(str(folder), "{folder}")
            found.append({"fault": name, "kind": type(error).__name__, "message": message})
        else:
            raise SystemExit(f"{name}: no error")
    return found


def against_schema(folder: Path) -> list[dict[str, str]]:
    """Break manifests and note what Python says."""
    found = []
    for keys, value in CHANGES:
        manifest = json.loads((folder / "bundle" / MANIFEST).read_text())
        *path, last = keys
        target = manifest
        for key in path:
            target = target[key]
        if value is None:
            del target[last]
        else:
            target[last] = value
        text = json.dumps(manifest)
        try:
            parse(Manifest, text.encode(), "manifest.json")
        except BundleError as error:
            found.append({"manifest": text, "message": str(error)})
        else:
            raise SystemExit(f"{keys}: no error")
    return found


def edit(folder: Path, **changes: object) -> None:
    path = folder / "manifest.json"
    write(path, {**json.loads(path.read_text()), **changes})


def truncate(folder: Path) -> None:
    path = folder / "decoder.onnx"
    path.write_bytes(path.read_bytes()[:-1])


def without(folder: Path, backend: str) -> None:
    artifacts = json.loads((folder / "manifest.json").read_text())["artifacts"]
    edit(folder, artifacts=[a for a in artifacts if a["backend"] != backend])


def of_another_model(folder: Path) -> None:
    weights = json.loads((folder / "manifest.json").read_text())["weights"]
    edit(folder, weights={**weights, "sha256": "0" * 64})


ARTIFACT: Keys = ("artifacts", 0)
GRAPH: Keys = (*ARTIFACT, "graphs", 0)
CHANGES: list[tuple[Keys, object]] = [
    (("weights",), None),
    (("more",), 1),
    (("artifacts",), []),
    (("vectors", "bytes"), -1),
    (("vectors", "bytes"), 1.5),
    (("tokens", "path"), "../tokens.txt"),
    (("token_type",), "letters"),
    (("exporter", "torch"), 2),
    ((*ARTIFACT, "sha256"), "0"),
    ((*ARTIFACT, "precision"), "fp16"),
    ((*GRAPH, "module"), None),
    ((*GRAPH, "settings"), []),
    ((*GRAPH, "inputs", 0, "shape"), "1"),
    ((*GRAPH, "state"), [{"update": "shift"}]),
    ((*GRAPH, "state"), [{"input": "x"}]),
    ((*GRAPH, "state"), [{"update": "count", "input": "x", "limit": 0}]),
]
"""Where a manifest is changed, and to what; None takes it away."""

FAULTS = {
    "empty": lambda folder: (folder / "manifest.json").unlink(),
    "foreign": lambda folder: write(folder / "manifest.json", {"format": "other"}),
    "newer": lambda folder: edit(folder, format_version=3),
    "older": lambda folder: edit(folder, format_version=1),
    "version of text": lambda folder: edit(folder, format_version="1"),
    "cut": truncate,
    "lost": lambda folder: (folder / "joiner.onnx").unlink(),
    "no backend": lambda folder: without(folder, "onnx"),
    "another model": of_another_model,
}


def write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
