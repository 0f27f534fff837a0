"""deploy-bias check."""

import json

from deploy_bias.runtime.backends import onnx as onnx_backend
from tests.deploy_bias.runtime.proof.wrong_runtimes import WRONG


def test_a_right_bundle(run, digits_bundle):
    status, out, _ = run("check", digits_bundle.folder, "--backend", "onnx,torchscript")
    assert status == 0
    assert out.count("pass") == 10
    assert "features" in out


def test_a_wrong_runtime(run, digits_bundle, monkeypatch):
    monkeypatch.setattr(onnx_backend, "open_session", WRONG["NaN"][0])
    status, out, _ = run("check", digits_bundle.folder, "--backend", "onnx")
    assert status == 1
    assert "FAIL" in out
    assert "✗ joint on onnx" in out


def test_json(run, digits_bundle):
    status, out, _ = run("check", digits_bundle.folder, "--backend", "onnx", "--json")
    content = json.loads(out)
    assert status == 0
    assert content["passed"] is True
    assert {"graph", "backend", "precision", "over_limit", "passed"} <= content["rows"][0].keys()
    assert {"system", "processor", "features"} == content["machine"].keys()


def test_bad_options(run, digits_bundle, tmp_path):
    for options, message in (
        (["--precision", "fp16"], "--precision fp16: unknown; choose from fp32, int8, int4"),
        (["--backend", "tflite"], "backend 'tflite' is unknown"),
        (["--backend", "onnx", "--provider", "None"], "provider 'None' is not there"),
    ):
        status, _, err = run("check", digits_bundle.folder, *options)
        assert status == 2
        assert message in err
    status, _, err = run("check", tmp_path)
    assert status == 2
    assert "holds no manifest.json" in err
