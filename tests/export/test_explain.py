"""`explain`: where words are lost."""

import json

import pytest

from deploy_bias.errors import BundleError, SourceError
from deploy_bias.export.explain import explain
from deploy_bias.export.recordings import read_utterances
from deploy_bias.runtime.backends import onnx as onnx_backend
from tests.deploy_bias.runtime.proof.wrong_runtimes import WRONG


@pytest.fixture(scope="module")
def recordings(digits):
    return digits / "wavs/TRANSCRIPTS.tsv"


@pytest.fixture(scope="module")
def changes(digits_bundle_320ms, recordings):
    return {row.name: row for row in explain(digits_bundle_320ms, read_utterances(recordings))}


def test_a_row_for_each_change(changes):
    assert list(changes) == [
        "eager float32",
        "onnx fp32: frontend",
        "onnx fp32: encoder",
        "onnx fp32: decoder",
        "onnx fp32: joint",
        "whole utterances",
        "no lead-in",
        "search default",
        "search maes",
    ]


def test_right_graphs_change_nothing(changes):
    for name, row in changes.items():
        if name.startswith("onnx"):
            assert row.errors == changes["eager float32"].errors
            assert row.differences == ()


def test_what_changed_is_told(changes):
    row = changes["no lead-in"]
    assert row.errors > changes["eager float32"].errors
    one = row.differences[0]
    assert one.file.endswith(".wav")
    assert one.eager != one.text


def test_a_wrong_graph_is_found(digits_bundle_320ms, recordings, monkeypatch):
    monkeypatch.setattr(onnx_backend, "open_session", WRONG["zeros"][0])
    utterances = read_utterances(recordings)[:2]
    rows = {row.name: row for row in explain(digits_bundle_320ms, utterances)}
    assert not rows["onnx fp32: frontend"].differences
    assert rows["onnx fp32: encoder"].differences


def test_of_a_bundle_for_whole_utterances_too(offline_bundle, recordings):
    rows = {row.name: row for row in explain(offline_bundle, read_utterances(recordings)[:1])}
    assert not rows["onnx fp32: offline_encoder"].differences
    assert not rows["torchscript fp32: joint"].differences


def test_a_bundle_that_hears_nothing(dynamic_bundle):
    with pytest.raises(BundleError, match="has no encoder, so it hears nothing"):
        explain(dynamic_bundle, [])


def test_recordings_without_words(tmp_path, digits):
    (tmp_path / "r.tsv").write_text(f"{digits / 'wavs/digits_55.wav'}\t\n")
    with pytest.raises(SourceError, match="has no words"):
        read_utterances(tmp_path / "r.tsv")


def test_the_command(run, digits_bundle_320ms, digits, tmp_path):
    line = (digits / "wavs/TRANSCRIPTS.tsv").read_text().splitlines()[0]
    name, *rest = line.split("\t")
    (tmp_path / "r.tsv").write_text("\t".join([str(digits / "wavs" / name), *rest]))
    plot = tmp_path / "e.png"
    options = ("--plot", plot, "--json")
    status, out, _ = run("explain", digits_bundle_320ms.folder, tmp_path / "r.tsv", *options)
    assert status == 0
    assert plot.stat().st_size > 1000
    assert json.loads(out)["changes"][0]["name"] == "eager float32"
    status, out, _ = run("explain", digits_bundle_320ms.folder, tmp_path / "r.tsv")
    assert "eager float32" in out
