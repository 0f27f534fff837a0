"""The command as a user and a CI job see it: output, exit status, one line an error."""

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from deploy_bias import RelativePositionBias, cli
from deploy_bias.export import Mismatch, Report, export_bundle
from deploy_bias.export.parity.results import GraphResult

COMMAND = str(Path(sys.executable).with_name("deploy-bias"))


@pytest.fixture
def copy(digits_bundle, tmp_path):
    shutil.copytree(digits_bundle.folder, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small") / "small"
    export_bundle(RelativePositionBias(16), folder, backends_wanted=["onnx", "torchscript"])
    return folder


@pytest.fixture
def small(exported, tmp_path):
    """A bundle that is verified in no time."""
    return shutil.copytree(exported, tmp_path / "small")


def test_the_installed_command(tmp_path):
    done = subprocess.run(
        [COMMAND, "demo"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("pass") == 30
    assert "four four five oh zero" in done.stdout
    assert "heard the same on every runtime" in done.stdout
    assert done.stdout.count("real-time factor") == 3
    assert {path.name for path in tmp_path.iterdir()} == {"digits-bundle", "digits-bundle.png"}
    for stage in ("read the checkpoint", "export to onnx", "verify decoder on executorch"):
        assert stage in done.stderr
    assert "cpuinfo" not in done.stderr
    assert "Warning" not in done.stderr


def test_an_export_that_is_terminated_leaves_nothing(digits, tmp_path):
    arguments = [COMMAND, "export", str(digits), "-o", str(tmp_path / "b"), "--backend", "onnx"]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
        while not any(tmp_path.iterdir()):  # its scratch folder
            assert process.poll() is None
            time.sleep(0.05)
        process.terminate()
        assert process.wait(60) == 143
    assert not any(tmp_path.iterdir())


def test_export(run, digits, tmp_path, digits_bundle):
    status, out, _ = run("export", digits, "-o", tmp_path / "b", "--backend", "onnx, torchscript")
    assert status == 0
    assert out.split("from valid.loss")[0].count(".onnx") == 5
    exported = (tmp_path / "b" / "bias.onnx").read_bytes()
    # The exporter's versions are in the label, and fewer backends name fewer of them.
    assert len(exported) < len((digits_bundle.folder / "bias.onnx").read_bytes())


def test_export_json(run, digits, tmp_path):
    options = ["--backend", "onnx", "--query-length", 1, "--key-length", 9, "--batch", 2, "--json"]
    status, out, _ = run("export", digits, "-o", tmp_path / "b", *options)
    assert status == 0
    artifacts = json.loads(out)["manifest"]["artifacts"]
    (bias,) = (a["graphs"][0] for a in artifacts if a["path"] == "bias.onnx")
    assert bias["inputs"][0]["shape"] == [2, 1, 9]


def test_verify(run, copy):
    (copy / "parity.json").unlink()
    status, out, _ = run("verify", copy)
    assert status == 0
    assert out.count("pass") == 15
    assert json.loads((copy / "parity.json").read_text())["passed"]


def test_verify_json(run, digits_bundle):
    status, out, _ = run("verify", digits_bundle.folder, "--json")
    assert status == 0
    assert json.loads(out)["passed"]


def test_a_mismatch_is_exit_status_1_and_every_backend_is_reported(run, copy):
    (copy / "model.pte").write_bytes(b"x")
    status, out, _ = run("verify", copy)
    assert status == 1
    assert out.count("pass") == 10
    assert out.count("FAIL") == 5
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
    assert "✗ bias on onnx, fp32: not checked: onnxruntime is not installed" in out
    status, out, _ = run("verify", small, "--without", "onnx")
    assert status == 0
    assert "left out by name: onnx" in out
    assert json.loads((small / "parity.json").read_text())["without"] == ["onnx"]


def test_an_export_that_does_not_match_is_exit_status_1(run, digits, tmp_path, monkeypatch):
    def mismatch(*args, **kwargs):
        raise Mismatch(
            Report((GraphResult("bias", "onnx", "fp32", "bias.onnx", (), problem="wrong"),))
        )

    monkeypatch.setattr("deploy_bias.export.cli.heavy.export_bundle", mismatch)
    status, _, err = run("export", digits, "-o", tmp_path / "b")
    assert status == 1
    assert err.endswith("error: bias on onnx, fp32: wrong\n")


def test_inspect(run, digits_bundle):
    status, out, _ = run("inspect", digits_bundle.folder)
    assert status == 0
    for text in ("biased_scores", "(1, 128, 128)", "aten.add.Tensor", "torch 2.13", "model.pte"):
        assert text in out


@pytest.mark.parametrize("name", ["bias.onnx", "model.pte", "bias.pt"])
def test_inspect_a_lone_file(run, digits_bundle, name):
    status, out, _ = run("inspect", digits_bundle.folder / name)
    assert status == 0
    assert "biased_scores" in out
    status, out, _ = run("inspect", digits_bundle.folder / name, "--json")
    assert "bias" in [graph["name"] for graph in json.loads(out)["graphs"]]


def test_inspect_json(run, digits_bundle):
    _, out, _ = run("inspect", digits_bundle.folder, "--json")
    assert json.loads(out) == digits_bundle.manifest.model_dump(mode="json")


def test_inspect_plot(run, digits_bundle, tmp_path):
    status, _, _ = run("inspect", digits_bundle.folder, "--plot", tmp_path / "new" / "bias.png")
    assert status == 0
    assert (tmp_path / "new" / "bias.png").read_bytes()[:4] == b"\x89PNG"


def test_testdata(run, digits_bundle, tmp_path):
    status, out, _ = run("testdata", digits_bundle.folder, "-o", tmp_path / "t")
    assert status == 0
    assert "model.bpte, test_frontend/model.onnx" in out.replace("\n", "")
    assert (tmp_path / "t" / "test_decoder" / "test_data_set_4" / "output_3.pb").is_file()


@pytest.mark.parametrize("backend", ["onnx", "executorch", "torchscript"])
def test_decode(run, digits, digits_bundle, backend):
    frames = digits / "encoder_out" / "prompts_0.npy"
    status, out, err = run("decode", digits_bundle.folder, frames, "--backend", backend)
    assert status == 0
    assert "oh seven seven one four four" in out
    assert "decode 154 frames" in err


def test_decode_takes_the_frames_of_an_offline_bundle_too(run, digits, offline_bundle):
    frames = digits / "encoder_out" / "prompts_0.npy"
    status, out, _ = run("decode", offline_bundle.folder, frames)
    assert status == 0
    assert "oh seven seven one four four" in out


def test_decode_json(run, digits, digits_bundle):
    frames = digits / "encoder_out" / "prompts_4.npy"
    options = ["--search", "maes", "--beam-size", 3, "--nbest", 2, "--json"]
    status, out, _ = run("decode", digits_bundle.folder, frames, *options)
    assert status == 0
    first, second = json.loads(out)["results"]
    assert first["text"] == "four four four five oh zero"
    assert first["tokens"] == first["text"].split()
    assert first["labels"] == [6, 6, 6, 7, 12, 2]
    assert first["frames"] == sorted(first["frames"])
    assert first["score"] > second["score"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a .npy file"),
        (b"PK nonsense", "not a .npy file"),
        (np.zeros((1, 3, 96), np.float32), "expected floating-point (frames, E), got float32"),
        (np.zeros((3, 96), np.int64), "got int64 (3, 96)"),
        (np.zeros((3, 95), np.float32), "float32 (frames, 96), got float32 (3, 95)"),
        (np.full((3, 96), np.nan, np.float32), "encoder frame 0 of 3 holds NaN"),
        (np.array([{}]), "not a .npy file"),
    ],
)
def test_decode_refuses_what_are_no_frames(run, digits_bundle, tmp_path, content, message):
    path = tmp_path / "frames.npy"
    path.write_bytes(content) if isinstance(content, bytes) else np.save(path, content)
    status, _, err = run("decode", digits_bundle.folder, path)
    assert status == 2
    assert message in err


def test_decode_no_frames_at_all(run, digits_bundle, tmp_path):
    np.save(tmp_path / "none.npy", np.zeros((0, 96), np.float32))
    status, out, _ = run("decode", digits_bundle.folder, tmp_path / "none.npy", "--json")
    assert status == 0
    assert json.loads(out)["results"][0]["text"] == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "nowhere"], "nowhere: no such file or folder"),
        (["export"], "no checkpoint given"),
        (["verify", "nowhere"], "nowhere: is not a folder; expected a bundle"),
        (["inspect", "nowhere"], "nowhere: is not a folder; expected a bundle"),
        (["export", "{digits}", "--backend", "tflite"], "backend 'tflite' is unknown"),
        (["export", "{digits}", "--key-length", "129"], "--key-length must be 1 to 128"),
        (["export", "{digits}", "--dynamic", "--backend", "executorch"], "add --backend onnx"),
        (["inspect", "{bundle}", "--plot", "x.xyz"], "end it in .png"),
        (["decode", "{bundle}", "nowhere.npy"], "nowhere.npy: no such file"),
        (["decode", "nowhere", "{frames}"], "nowhere: is not a folder; expected a bundle"),
        (["decode", "{bundle}", "{frames}", "--beam-size", "2"], "add --search default"),
        (["decode", "{bundle}", "{frames}", "--nbest", "3"], "the greedy search has one result"),
        (["decode", "{bundle}", "{frames}", "--search", "beam"], "Invalid value for '--search'"),
        (
            ["decode", "{bundle}", "{frames}", "--search", "maes", "--beam-size", "13"],
            "beam_size + expansion_beta must be at most the number of labels, 14, got 13 + 2",
        ),
        (["verify"], "Missing argument"),
        (["inspect", "{bundle}", "--nope"], "No such option"),
        (["verify", "{bundle}", "--report", "r.txt"], "ends in .xml, .md, .json, .html"),
        (["verify", "{bundle}", "--baseline", "p.json"], "No such file or directory"),
        (["verify", "{bundle}", "--without", "tflite"], "the bundle has executorch, onnx, torch"),
        (
            ["verify", "{bundle}", "--without", "onnx,torchscript,executorch"],
            "nothing is left to verify",
        ),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_status_2(
    run, digits, digits_bundle, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    frames = digits / "encoder_out" / "prompts_0.npy"
    places = {"digits": digits, "bundle": digits_bundle.folder, "frames": frames}
    status, _, err = run(*[argument.format(**places) for argument in arguments])
    assert status == 2
    assert message in err
    assert "Traceback" not in err
    assert not any(tmp_path.iterdir())


def test_debug_shows_the_traceback(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["deploy-bias", "verify", str(tmp_path), "--debug"])
    with pytest.raises(Exception, match=r"holds no manifest\.json"):
        cli.main()


def test_an_error_nobody_foresaw_is_still_one_line(run, monkeypatch, digits_bundle):
    def fail(folder):
        raise ZeroDivisionError("what")

    monkeypatch.setattr(cli.verify, "Bundle", fail)
    status, _, err = run("verify", digits_bundle.folder)
    assert status == 2
    assert err == "error: ZeroDivisionError: what (not foreseen; --debug shows where)\n"
