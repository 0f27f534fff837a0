"""Loading and running: what fits the contract runs, all else is an error before it runs."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

from deploy_bias.errors import BackendError, ContractError
from deploy_bias.export.plot import bias_modules
from deploy_bias.runtime import backends, load

ROOT = Path(__file__).parents[3]
BACKENDS = ["onnx", "executorch", "torchscript"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_backend_gives_what_eager_gives(digits_bundle, backend):
    (bias,) = bias_modules(digits_bundle).values()
    scores = torch.randn(1, 128, 128)
    got = load(digits_bundle.folder, backend)["bias"](scores=scores.numpy())
    assert list(got) == ["biased_scores"]
    assert np.array_equal(got["biased_scores"], (scores + bias(128)).detach().numpy())


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_array_that_is_not_contiguous(digits_bundle, backend):
    graph = load(digits_bundle, backend)["bias"]
    scores = np.random.default_rng(0).normal(size=(1, 128, 128)).astype(np.float32)
    turned = np.swapaxes(scores, 1, 2)
    expected = graph(scores=turned.copy())["biased_scores"]
    assert np.array_equal(graph(scores=turned)["biased_scores"], expected)


@pytest.mark.parametrize("window", [(1, 1), (1, 37), (2, 3), (37, 37)])
def test_a_dynamic_length(dynamic_bundle, window):
    (bias,) = bias_modules(dynamic_bundle).values()
    scores = np.zeros((1, *window), np.float32)
    got = load(dynamic_bundle)["bias"](scores=scores)["biased_scores"]
    assert np.array_equal(got[0], bias.window(*window).detach().numpy())


GOOD = np.zeros((1, 128, 128), np.float32)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "missing input scores"),
        ({"score": GOOD}, "missing input scores"),
        ({"scores": GOOD, "mask": GOOD}, "unknown input mask"),
        ({"scores": GOOD.astype(np.float64)}, "got float64 (1, 128, 128)"),
        ({"scores": GOOD[0]}, "got float32 (128, 128)"),
        ({"scores": GOOD[:, :, :5]}, "scores float32 (1, 128, 128), got float32 (1, 128, 5)"),
        ({"scores": [[0.0]]}, "must be a numpy array"),
        ({"scores": torch.zeros(1, 128, 128)}, "got Tensor"),
    ],
)
@pytest.mark.parametrize("backend", BACKENDS)
def test_inputs_against_the_contract(digits_bundle, backend, inputs, message):
    with pytest.raises(ContractError, match=re.escape(message)):
        load(digits_bundle, backend)["bias"](**inputs)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 1, 38), "key_length 1 to 37"),
        ((1, 5, 4), "query_length 5 is more than key_length 4"),
        ((2, 5, 5), "got float32 (2, 5, 5)"),
        ((1, 0, 5), "query_length 1 to 37"),
    ],
)
def test_dynamic_lengths_against_the_contract(dynamic_bundle, shape, message):
    with pytest.raises(ContractError, match=re.escape(message)):
        load(dynamic_bundle)["bias"](scores=np.zeros(shape, np.float32))


def test_an_unknown_backend(digits_bundle):
    with pytest.raises(BackendError, match="'tflite'"):
        load(digits_bundle, "tflite")


WITHOUT = """
import sys
import tomllib
from pathlib import Path

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ImportError(name + " is blocked")

sys.meta_path.insert(0, Block())
import numpy as np
import deploy_bias.runtime
graphs = deploy_bias.runtime.load({folder!r}, backend={backend!r})
out = graphs["bias"](scores=np.zeros((1, 128, 128), np.float32))["biased_scores"]
assert not {blocked} & set(sys.modules)
print(out.shape)
"""


def run_without(blocked, folder, backend):
    code = WITHOUT.format(blocked=blocked, folder=str(folder), backend=backend)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_onnx_needs_no_torch(digits_bundle):
    blocked = {"torch", "executorch", "onnx", "export", "yaml", "matplotlib"}
    done = run_without(blocked, digits_bundle.folder, "onnx")
    assert done.stdout == "(1, 128, 128)\n", done.stderr


@pytest.mark.parametrize(
    ("backend", "package", "extra"),
    [
        ("onnx", "onnxruntime", "onnxruntime"),
        ("executorch", "executorch", "executorch"),
        ("torchscript", "torch", "torchscript"),
    ],
)
def test_a_backend_that_is_not_installed(digits_bundle, backend, package, extra):
    done = run_without({package}, digits_bundle.folder, backend)
    assert f"needs {package}" in done.stderr
    assert f"pip install 'deploy-bias[{extra}]'" in done.stderr


def test_a_torch_that_executorch_does_not_run_with(monkeypatch):
    versions = {"executorch": "1.5.1", "torch": "2.11.0+cpu"}
    monkeypatch.setattr(backends, "version", versions.__getitem__)
    assert backends.unmet("torchscript") is None
    with pytest.raises(BackendError, match=r"torch 2\.13 or newer, and torch 2\.11\.0\+cpu is"):
        backends.require("executorch")


@pytest.mark.filterwarnings("error")
def test_torchscript_is_asked_for_so_its_deprecation_is_no_warning(digits_bundle):
    load(digits_bundle, "torchscript")


def test_the_oldest_versions_are_those_of_the_extras():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    for name in backends.BACKENDS:
        module = backends.backend(name)
        for package, oldest in module.OLDEST.items():
            floor = f"{package}>={'.'.join(map(str, oldest))}"
            assert any(line.split(",")[0] == floor for line in extras[module.EXTRA])
