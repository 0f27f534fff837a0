"""deploy-bias inspect: a bundle summed up, and a lone file of one."""

import json
import shutil

import pytest


def test_inspect_sums_up(run, digits_bundle):
    status, out, _ = run("inspect", digits_bundle.folder)
    assert status == 0
    for text in (
        "decoder mega",
        "model.pte",
        "96%",
        "7 of 8: arange 2",
        "they cost little",
        "torch ",
    ):
        assert text in out
    assert len(out.splitlines()) < 40
    assert "aten.add.Tensor" not in out


def test_inspect_tells_of_what_should_have_been_delegated(run, digits_bundle, tmp_path):
    folder = shutil.copytree(digits_bundle.folder, tmp_path / "copy")
    manifest = json.loads((folder / "manifest.json").read_text())
    (pte,) = (each for each in manifest["artifacts"] if each["path"] == "model.pte")
    counts = pte["operators"]["joint"]
    counts["undelegated"] = {"aten.addmm.default": 3}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    _, out, _ = run("inspect", folder)
    assert "joint: 3 of 8: addmm 3" in out
    assert "most of the time may go there" in " ".join(out.split())


def test_inspect_operators(run, digits_bundle):
    status, out, _ = run("inspect", digits_bundle.folder, "--operators")
    assert status == 0
    for text in ("aten.add.Tensor", "MatMul", "aten::linear"):
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
