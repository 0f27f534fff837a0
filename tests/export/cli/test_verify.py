"""deploy-bias verify: what it prints and writes, and its exit status."""

import json
import re
import shutil
import sys

import pytest

from deploy_bias import RelativePositionBias
from deploy_bias.export import ExportOptions, export_bundle


@pytest.fixture
def copy(small_bundle, tmp_path):
    return shutil.copytree(small_bundle.folder, tmp_path / "copy")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small") / "small"
    options = ExportOptions(backends=["onnx", "torchscript"])
    export_bundle(RelativePositionBias(16), folder, options)
    return folder


@pytest.fixture
def small(exported, tmp_path):
    """A bundle that is verified in no time."""
    return shutil.copytree(exported, tmp_path / "small")


def test_verify(run, copy):
    (copy / "parity.json").unlink()
    status, out, _ = run("verify", copy)
    assert status == 0
    assert out.count("pass") == 9
    assert json.loads((copy / "parity.json").read_text())["passed"]


def test_verify_json(run, small_bundle):
    status, out, _ = run("verify", small_bundle.folder, "--json")
    assert status == 0
    assert json.loads(out)["passed"]


def test_a_mismatch_is_exit_status_1_and_every_backend_is_reported(run, copy):
    (copy / "model.pte").write_bytes(b"x")
    status, out, _ = run("verify", copy)
    assert status == 1
    assert out.count("pass") == 6
    assert out.count("FAIL") == 3
    assert not json.loads((copy / "parity.json").read_text())["passed"]


def test_verify_with_reports_and_a_baseline(run, small, tmp_path):
    reports = [tmp_path / "r" / f"report{suffix}" for suffix in (".xml", ".md", ".json", ".html")]
    options = [text for path in reports for text in ("--report", path)]
    status, out, _ = run("verify", small, "--baseline", small / "parity.json", *options)
    assert status == 0
    assert "nothing grown past" in out
    assert all(path.stat().st_size > 100 for path in reports)
    assert '<testsuites name="export parity of small"' in reports[0].read_text()
    assert "Export parity of small: passed" in reports[1].read_text()
    assert json.loads(reports[2].read_text())["growths"] == []
    assert "ONNX unoptimised" in reports[3].read_text()


def test_a_grown_bundle_is_exit_status_1(run, small, tmp_path):
    baseline = json.loads((small / "parity.json").read_text())
    for artifact in baseline["artifacts"]:
        artifact["bytes"] //= 2
    (tmp_path / "before.json").write_text(json.dumps(baseline))
    status, out, _ = run("verify", small, "--baseline", tmp_path / "before.json")
    assert status == 1
    assert "✗ bias.onnx: bytes" in out
    assert "2 grown past" in out
    status, out, _ = run("verify", small, "--baseline", tmp_path / "before.json", "--json")
    assert status == 1
    assert [growth["subject"] for growth in json.loads(out)["growths"]] == ["bias.onnx", "bias.pt"]


def test_a_read_only_bundle_is_verified_all_the_same(run, small):
    (small / "parity.json").unlink()
    (small / "parity.json").mkdir()  # as the superuser, who runs this in CI, may write anywhere
    status, out, _ = run("verify", small)
    assert status == 0
    assert "parity.json stays as it was: Is a directory" in out


def test_a_report_that_cannot_be_written_is_told_before_the_work(run, small, tmp_path):
    (tmp_path / "file").touch()
    status, out, err = run("verify", small, "--report", tmp_path / "file" / "x.md")
    assert status == 2
    assert "cannot be written" in err
    assert "pass" not in out


def test_a_baseline_is_not_replaced_by_what_is_worse(run, small):
    path = small / "parity.json"
    path.write_text(re.sub(r'"bytes": \d+', '"bytes": 10', path.read_text()))
    for _ in range(2):
        status, out, _ = run("verify", small, "--baseline", path)
        assert status == 1
        assert "2 grown past" in out


def test_a_backend_that_is_left_out_by_name_may_be_missing(run, small, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    status, out, _ = run("verify", small)
    assert status == 1
    assert "✗ bias on onnx, fp32: not checked: backend 'onnx' needs onnxruntime" in out
    status, out, _ = run("verify", small, "--without", "onnx")
    assert status == 0
    assert "left out by name: onnx" in out
    assert json.loads((small / "parity.json").read_text())["without"] == ["onnx"]
