"""deploy-bias demo, as it is installed."""

import subprocess

from tests.conftest import COMMAND


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
