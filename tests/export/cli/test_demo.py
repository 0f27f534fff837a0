"""deploy-bias demo, as it is installed: one screen."""

import json
import os
import shutil
import subprocess
import sys

from deploy_bias.export import Report
from tests.conftest import COMMAND


def test_the_installed_command(tmp_path):
    done = subprocess.run(
        [COMMAND, "demo"],
        cwd=tmp_path,
        env={**os.environ, "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    for text in (
        "executorch",
        "onnx",
        "torchscript",
        "digits-bundle.png",
        "deploy-bias transcribe",
    ):
        assert text in done.stdout
    assert "two nine three four zero      heard two nine three four zero ✓" in done.stdout
    assert done.stdout.count("heard") == done.stdout.count("said") == 4
    assert "✗" not in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"digits-bundle", "digits-bundle.png"}
    for noise in ("cpuinfo", "Warning"):
        assert noise not in done.stderr


def test_json(run, digits_bundle, tmp_path, monkeypatch):
    def copy(source, output, options, **rest):
        shutil.copytree(digits_bundle.folder, output)
        return Report(())

    monkeypatch.setattr("deploy_bias.export.bundle.export_bundle", copy)
    status, out, _ = run("demo", "-o", tmp_path / "b", "--json")
    assert status == 0
    content = json.loads(out)
    assert content["picture"] == str(tmp_path / "b.png")
    assert content["left_out"] == {}
    assert not content["parity"]["results"]
    assert all(each["said"] == each["heard"] for each in content["recordings"])


def test_a_package_that_is_missing_is_told_before_the_work(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    status, _, err = run("demo", "-o", tmp_path / "b")
    assert status == 2
    assert "pip install 'deploy-bias[audio]'" in err
    assert not any(tmp_path.iterdir())
