"""deploy-bias demo, as it is installed: one screen."""

import json
import shutil
import sys

from deploy_bias.export import Report


def test_the_installed_command(demo):
    folder, stdout, stderr = demo
    lines = stdout.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    for text in (
        "executorch",
        "onnx",
        "torchscript",
        "digits-bundle.png",
        "deploy-bias transcribe",
    ):
        assert text in stdout
    assert "two nine three four zero      heard two nine three four zero ✓" in stdout
    assert stdout.count("heard") == stdout.count("said") == 4
    assert "✗" not in stdout
    assert {path.name for path in folder.iterdir()} == {"digits-bundle", "digits-bundle.png"}
    for noise in ("cpuinfo", "Warning"):
        assert noise not in stderr


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
