"""The plugin in sessions of its own."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PLUGIN = "deploy_bias.testing.plugin"
TESTS = """
import pytest, torch
from deploy_bias.testing import assert_export_parity

MODULE, INPUTS = torch.nn.Linear(3, 2), torch.ones(1, 3)

class Wrong(torch.nn.Linear):
    def forward(self, x):
        return super().forward(x) + 0.5

@pytest.mark.export_parity(backends=["torchscript"])
def test_by_fixture(export_parity):
    assert export_parity(MODULE, INPUTS).passed

def test_by_import():
    assert_export_parity(MODULE, INPUTS, backends=["torchscript"])

@pytest.mark.export_parity(backends=["onnx"], reference=MODULE)
def test_that_fails(export_parity):
    wrong = Wrong(3, 2)
    wrong.load_state_dict(MODULE.state_dict())
    export_parity(wrong, INPUTS, backends=["torchscript"])

def test_of_something_else():
    pass
"""


def session(folder, *arguments):
    (folder / "test_exports.py").write_text(TESTS)
    # The installed package may have registered the plugin already: the same name is no second one.
    command = [sys.executable, "-m", "pytest", "-p", PLUGIN, "-q", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for name in [name for name in environment if name.startswith("PYTEST_")]:
        del environment[name]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("workers", [["-p", "no:xdist"], ["-n", "2"]], ids=["alone", "xdist"])
def test_a_session_is_one_report(tmp_path, workers):
    done = session(tmp_path, "--export-parity=out/report.json", "-p", "no:randomly", *workers)
    assert "1 failed, 3 passed" in done.stdout, done.stdout + done.stderr
    assert "export parity: 3 compared, 1 failed" in done.stdout
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert not report["passed"]
    assert report["lost_workers"] == []
    found = {one["test"].rpartition("::")[2]: one for one in report["comparisons"]}
    assert {name: one["passed"] for name, one in found.items()} == {
        "test_by_fixture": True,
        "test_by_import": True,
        "test_that_fails": False,
    }
    (result,) = found["test_that_fails"]["results"]
    assert result["backend"] == "torchscript"  # what the call says, not the marker
    assert result["cases"][0]["errors"] == [0.5]


def test_a_session_that_fails_nothing(tmp_path):
    done = session(tmp_path, "--export-parity=report.json", "-k", "by", "-p", "no:xdist")
    assert done.returncode == 0
    assert json.loads((tmp_path / "report.json").read_text())["passed"]


def test_the_suffix_says_what_is_written(tmp_path):
    marks = {"html": "<html", "xml": "<testsuites", "md": "## Export parity of this test session"}
    for suffix, mark in marks.items():
        path = tmp_path / f"report.{suffix}"
        session(tmp_path, f"--export-parity={path}", "-p", "no:xdist")
        text = path.read_text()
        assert mark in text
        names = ("test_by_fixture: Linear", "test_that_fails: Wrong", "torchscript")
        assert all(name.replace("_", "\\_" if suffix == "md" else "_") in text for name in names)


def test_a_suffix_that_says_nothing_is_told_at_once(tmp_path):
    done = session(tmp_path, "--export-parity=report.txt", "-p", "no:xdist")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "--export-parity report.txt: expected a file that ends in .xml" in done.stderr


def test_a_lost_worker_is_a_failure():
    from deploy_bias.export.parity.results import Report

    report = Report.of_session([], ["gw1: it was killed"])
    assert not report.passed
    assert report.results[0].why == "not compared: the worker was lost"


def test_what_could_not_be_compared_is_no_success(tmp_path):
    (tmp_path / "test_refused.py").write_text(
        "import pytest, torch\n"
        "def test_refused(export_parity):\n"
        "    with pytest.raises(ValueError):\n"
        "        export_parity(torch.nn.Linear(3, 2), torch.ones(1, 3), steps=0)\n"
    )
    done = session(tmp_path, "test_refused.py", "--export-parity=report.json", "-p", "no:xdist")
    assert "export parity: 1 compared, 1 failed" in done.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    assert not report["passed"]
    (result,) = report["comparisons"][0]["results"]
    assert result["problem"].startswith("not compared: OptionError: steps: expected a number")


def test_a_report_that_cannot_be_written_is_told_at_once(tmp_path):
    (tmp_path / "file").write_text("x")
    done = session(tmp_path, "--export-parity=file/report.json", "-p", "no:xdist")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "--export-parity file/report.json: cannot be written" in done.stderr


def test_the_marker_is_known_and_selects(tmp_path):
    done = session(tmp_path, "-m", "export_parity", "--strict-markers", "--co", "-p", "no:xdist")
    assert done.returncode == 0
    assert "test_by_fixture" in done.stdout
    assert "test_by_import" not in done.stdout


def test_it_is_registered_and_imports_no_torch():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {PLUGIN: PLUGIN}
    code = f"import sys, {PLUGIN}; print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["False", "False"]
