"""deploy-bias gate: files of a team's own, from a shell."""

import json
import shutil

import numpy as np
import pytest
import torch

from tests.export.testing.artifacts import files
from tests.export.testing.artifacts.files import EXAMPLE, Step, step

MODELS = """
from tests.export.testing.artifacts.files import EXAMPLE, STATE, step
example = EXAMPLE
def stateful():
    return step(), EXAMPLE, {"state": STATE, "steps": 2}
def four():
    return 1, 2, 3, 4
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A right file and a wrong one."""
    folder = tmp_path_factory.mktemp("gate")
    files.write_pt2(step(), folder / "step.pt2")
    torch.manual_seed(9)
    files.write_pt2(Step().eval(), folder / "other.pt2")
    return folder


@pytest.fixture
def gate(run, made, tmp_path, monkeypatch):
    """Call the command in a folder with both files and the module."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    (tmp_path / "gate_models.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "gate_models", raising=False)
    return lambda *arguments: run("gate", *arguments)


def test_a_right_file(gate, tmp_path):
    reports = [text for name in ("r.html", "r.xml") for text in ("--report", name)]
    status, out, _ = gate("gate_models:stateful", "--artifact", "step.pt2", *reports)
    assert status == 0
    assert "✓ Step, step.pt2: right on " in out
    assert "step.pt2" in (tmp_path / "r.html").read_text()
    assert "gate_models:stateful" in (tmp_path / "r.xml").read_text()


def test_a_mismatch_is_exit_status_1(gate, tmp_path):
    status, out, _ = gate(
        *("gate_models:stateful", "--artifact", "step.pt2", "--artifact", "other.pt2"),
        *("--report", "r.json"),
    )
    assert status == 1
    assert "✓ Step, step.pt2: right on " in out
    assert "Step on other.pt2: 2 of 2 outputs differ" in out
    assert "float64" in out
    report = json.loads((tmp_path / "r.json").read_text())
    assert [result["passed"] for result in report["results"]] == [True, False]


def test_recorded_cases_are_the_example_where_there_is_none(gate, tmp_path):
    x, hidden = (tensor.numpy() for tensor in EXAMPLE)
    np.savez(tmp_path / "field.npz", x=x, hidden=hidden)
    arrays = {"noisy/0/x": x, "noisy/0/hidden": hidden, "noisy/1/x": 2 * x, "quiet/x": x / 9}
    np.savez(tmp_path / "more.npz", **arrays, **{"quiet/hidden": hidden})
    options = ("--artifact", "step.pt2", "--json")
    cases = ("--cases", "field.npz")
    status, out, _ = gate("gate_models:step", *cases, *options)
    assert status == 0
    assert "field" in {case["case"] for case in json.loads(out)["results"][0]["cases"]}
    status, out, _ = gate("gate_models:stateful", *cases, "--cases", "more.npz", *options)
    assert status == 0
    steps = {case["case"]: case["steps"] for case in json.loads(out)["results"][0]["cases"]}
    assert (steps["field"], steps["quiet"], steps["noisy"]) == (1, 1, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere:make"], "nowhere:make: ModuleNotFoundError: No module named 'nowhere'; it is"),
        (["gate_models:nothing"], "has no attribute 'nothing'"),
        (["gate_models"], "gate_models: expected package.module:name, as"),
        (["gate_models:four"], "expected a torch.nn.Module, (module, example) or (module"),
        (["gate_models:example"], "expected a torch.nn.Module"),
        (["gate_models:step"], "gives no example inputs"),
        (["gate_models:stateful", "--artifact", "gone.onnx"], "gone.onnx: no such file"),
        (["gate_models:stateful", "--inputs", "x"], "--inputs x: expected NAME=FILE'S NAME"),
        (["gate_models:stateful", "--cases", "gone.npz"], "gone.npz: cannot be read"),
        (["gate_models:stateful", "--cases", "odd.npz"], "'a/b/c/d': expected numbers under NAME"),
        (
            ["gate_models:stateful", "--cases", "less.npz"],
            "'less', step 0: the module takes x, ",
        ),
        (["gate_models:stateful", "--report", "r.txt"], "expected a file that ends in .xml"),
    ],
)
def test_misuse_is_exit_status_2(gate, tmp_path, arguments, message):
    np.savez(tmp_path / "odd.npz", **{"a/b/c/d": np.zeros(2)})
    np.savez(tmp_path / "less.npz", x=np.zeros((3, 6), np.float32))
    status, _, errors = gate(*arguments)
    assert status == 2
    assert message in errors
