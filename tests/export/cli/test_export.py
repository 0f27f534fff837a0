"""deploy-bias export: what it prints, and its exit status."""

import json
import subprocess
import time

from deploy_bias.export import Mismatch, Report
from deploy_bias.export.parity.results import GraphResult
from tests.conftest import COMMAND


def test_export(run, small_experiment, tmp_path, small_bundle):
    options = ["-o", tmp_path / "b", "--backend", "onnx, torchscript"]
    status, out, _ = run("export", small_experiment, *options)
    assert status == 0
    assert "fp32: bias, decoder, joint on onnx, torchscript: at most" in out
    assert "error, worst" not in out  # the table is what verify prints
    exported = (tmp_path / "b" / "bias.onnx").read_bytes()
    # The exporter's versions are in the label, and fewer backends name fewer of them.
    assert len(exported) < len((small_bundle.folder / "bias.onnx").read_bytes())


def test_export_json(run, small_experiment, tmp_path):
    options = ["--backend", "onnx", "--query-length", 1, "--key-length", 9, "--batch", 2, "--json"]
    status, out, _ = run("export", small_experiment, "-o", tmp_path / "b", *options)
    assert status == 0
    artifacts = json.loads(out)["manifest"]["artifacts"]
    (bias,) = (a["graphs"][0] for a in artifacts if a["path"] == "bias.onnx")
    assert bias["inputs"][0]["shape"] == [2, 1, 9]


def test_an_export_that_is_terminated_leaves_nothing(digits, tmp_path):
    arguments = [COMMAND, "export", str(digits), "-o", str(tmp_path / "b"), "--backend", "onnx"]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
        while not any(tmp_path.iterdir()):  # its scratch folder
            assert process.poll() is None
            time.sleep(0.05)
        process.terminate()
        assert process.wait(60) == 143
    assert not any(tmp_path.iterdir())


def test_an_export_that_does_not_match_is_exit_status_1(run, digits, tmp_path, monkeypatch):
    def mismatch(*args, **kwargs):
        raise Mismatch(
            Report((GraphResult("bias", "onnx", "fp32", "bias.onnx", (), problem="wrong"),))
        )

    monkeypatch.setattr("deploy_bias.export.bundle.export_bundle", mismatch)
    status, _, err = run("export", digits, "-o", tmp_path / "b")
    assert status == 1
    assert err.endswith("error: bias on onnx, fp32: wrong\n")
