"""deploy-bias inspect: a bundle summed up, and a lone file of one."""

import json

import pytest


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
