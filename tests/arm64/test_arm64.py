"""The comparison and the loop that run on both processors; `make parity-arm64` runs the whole."""

import json
import subprocess
import sys

import numpy as np
import pytest

from deploy_bias.runtime import load
from tests.arm64 import plan, run
from tests.arm64.__main__ import HERE, compare

GRAPH = {"kind": "decoder", "outputs": ["y"]}
JOINT = {"kind": "joint", "outputs": ["y"]}
ONE = {"case/y": np.linspace(-2, 2, 24, dtype=np.float32).reshape(4, 6)}


def changed(by: float) -> dict[str, np.ndarray]:
    array = ONE["case/y"].copy()
    array[2, 3] += by
    return {"case/y": array}


@pytest.mark.parametrize(("by", "passes"), [(0.0, True), (1e-5, True), (4e-5, False)])
def test_float32_may_differ_by_1e_5_of_the_largest_value(by, passes):
    assert compare(GRAPH, "fp32", ONE, changed(by)).passed == passes


def test_a_bias_must_be_equal_to_the_bit():
    assert compare({**GRAPH, "kind": "bias"}, "fp32", ONE, ONE).passed
    assert not compare({**GRAPH, "kind": "bias"}, "fp32", ONE, changed(1e-6)).passed


@pytest.mark.parametrize(
    ("precision", "by", "passes"),
    [("int8", 0.01, True), ("int8", 0.03, False), ("int4", 0.04, True), ("int4", 0.06, False)],
)
def test_a_quantised_graph_may_be_off_by_what_was_measured_twice(precision, by, passes):
    off = {"case/y": ONE["case/y"] * np.float32(1 + by)}
    assert compare(GRAPH, precision, ONE, off).passed == passes


@pytest.mark.parametrize("precision", ["fp32", "int8", "int4"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_never_passes(precision, bad):
    assert not compare(GRAPH, precision, ONE, changed(bad)).passed


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_label_that_is_not_preferred_any_more(precision):
    logits = np.tile(np.array([0.0, 1.0, 2.0, 0.0], np.float32), (50, 1))
    other = logits.copy()
    other[:, 2] = 0.99 * other[:, 1]
    result = compare(JOINT, precision, {"c/y": logits}, {"c/y": other})
    assert result.labels == (50, 0)
    assert not result.passed


def test_the_loop_gives_what_the_runtime_gives(digits_bundle, tmp_path):
    artifacts, inputs = plan.make_plan(digits_bundle)
    (tmp_path / "plan.json").write_text(json.dumps(artifacts))
    np.savez(tmp_path / "inputs.npz", **inputs)
    given = [tmp_path / name for name in ("plan.json", "inputs.npz", "outputs.npz")]
    subprocess.run([sys.executable, HERE / "run.py", *given], check=True, capture_output=True)
    found = np.load(given[-1])
    vectors = digits_bundle.tensors(digits_bundle.manifest.vectors)
    compared = 0
    for backend in ("onnx", "executorch"):
        for contract in (graph.contract for graph in load(digits_bundle, backend).values()):
            for key in (key for key in vectors if key.startswith(f"{contract.name}/")):
                _, case, name = key.split("/")
                if name not in {spec.name for spec in contract.outputs}:
                    continue
                got = found[f"{backend}/fp32/{key}"]
                if contract.kind == "encoder":  # behind the genuine frames the vectors hold zeros
                    rows = inputs[f"{contract.name}/{case}/rows"]
                    got = np.stack(
                        [
                            np.pad(x[:, :n], [(0, 0), (0, x.shape[1] - n), (0, 0)])
                            for x, n in zip(got, rows, strict=True)
                        ]
                    )
                near = 1e-5 * max(np.abs(vectors[key]).max(), 1e-30)
                np.testing.assert_allclose(got, vectors[key], rtol=0, atol=near, err_msg=key)
                compared += 1
    assert compared > 20
    assert len(found["onnx/fp32/decoder/all, on and on/decoder_out"]) == plan.LONG


def test_windows_grow_at_their_end():
    graph = {
        "inputs": ["x", "w", "s"],
        "outputs": ["y"],
        "initial": {"w": ("float32", [1, 3, 1], 0), "s": ("float32", [1, 2, 1], 1)},
        "state": [("w", "extend", "y", None), ("s", "replace", "y", None)],
    }
    seen = []

    def call(inputs):
        seen.append([array.flatten().tolist() for array in inputs])
        return [inputs[0]]

    x = np.arange(1, 7, dtype=np.float32).reshape(3, 1, 2, 1)
    run.run_case(call, graph, {"x": x}, rows=[2, 1, 2])
    assert seen == [
        [[1, 2], [0, 0, 0], [1, 1]],
        [[3, 4], [0, 1, 2], [1, 2]],
        [[5, 6], [1, 2, 3], [3, 4]],
    ]
