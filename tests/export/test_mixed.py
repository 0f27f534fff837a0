"""The precision "auto": int8, but for the layers that cost words."""

import shutil

import pytest
import torch

from deploy_bias.bundle import Bundle
from deploy_bias.errors import OptionError, SourceError
from deploy_bias.export import ExportOptions, export_bundle, verify
from deploy_bias.export.recordings import hear, read_utterances
from deploy_bias.runtime import Recognizer, check

LAYER = "step.blocks.1.feed_forward.w_1"


@pytest.fixture(scope="module")
def sensitive(digits, tmp_path_factory):
    """The shipped model with outliers in one layer: the same function, but not in 8 bits.

    Two inputs of it are 10,000 times smaller, and their weights as much larger.
    """
    folder = tmp_path_factory.mktemp("sensitive") / "experiment"
    shutil.copytree(digits, folder)
    state = torch.load(folder / "valid.loss.best.pth", weights_only=True)
    block = "encoder.encoders.blocks.1."
    for channel in (3, 70):
        for name in ("weight", "bias"):
            state[f"{block}norm_feed_forward.{name}"][channel] *= 1e-4
        state[f"{block}feed_forward.w_1.weight"][:, channel] *= 1e4
    torch.save(state, folder / "valid.loss.best.pth")
    return folder


@pytest.fixture(scope="module")
def mixed(sensitive, digits, tmp_path_factory) -> Bundle:
    folder = tmp_path_factory.mktemp("mixed") / "bundle"
    options = ExportOptions(backends=["onnx"], precisions=["int8", "auto"])
    recordings = digits / "wavs/TRANSCRIPTS.tsv"
    export_bundle(sensitive, folder, options, recordings=recordings)
    return Bundle(folder)


def size(bundle, precision):
    return sum(artifact.bytes for artifact in bundle.artifacts("onnx", precision))


def test_the_sensitive_layer_is_found_and_nothing_else(mixed):
    assert {name: list(layers) for name, layers in mixed.manifest.float_layers.items()} == {
        "encoder": [LAYER]
    }


def test_the_reason_is_kept(mixed):
    why = mixed.manifest.float_layers["encoder"][LAYER]
    assert "it moves the outputs by" in why
    assert "with 1 of 56 in float32" in why


def test_no_word_is_lost(mixed, digits_bundle, digits):
    utterances = read_utterances(digits / "wavs/TRANSCRIPTS.tsv")
    errors = {
        precision: hear(Recognizer(bundle, precision=precision), utterances).errors
        for precision, bundle in (("fp32", digits_bundle), ("auto", mixed))
    }
    assert errors["auto"] <= errors["fp32"]


def test_the_file_is_little_larger_than_int8(mixed):
    assert size(mixed, "int8") < size(mixed, "auto") < 1.2 * size(mixed, "int8")


def test_it_is_proven_as_the_others_are(mixed):
    report = verify(mixed)
    assert report.passed
    assert {result.precision for result in report.results} == {"int8", "auto"}
    assert check(mixed, ["onnx"], ["auto"]).passed


def test_nothing_is_kept_where_int8_costs_nothing(digits, tmp_path):
    export_bundle(digits, tmp_path / "b", ExportOptions(backends=["onnx"], precisions=["auto"]))
    assert Bundle(tmp_path / "b").manifest.float_layers == {}


class TestBadInput:
    def test_recordings_for_nothing(self, digits, tmp_path):
        with pytest.raises(OptionError, match="only --precision auto counts words"):
            export_bundle(digits, tmp_path / "b", recordings=tmp_path / "r.tsv")

    @pytest.mark.parametrize(
        ("text", "message"),
        [("", "empty"), ("a.wav\tone\n", "a.wav"), ("a.wav\n", "a tab and its words")],
    )
    def test_recordings_that_cannot_be_read(self, digits, tmp_path, text, message):
        (tmp_path / "r.tsv").write_text(text)
        options = ExportOptions(backends=["onnx"], precisions=["auto"])
        with pytest.raises(SourceError, match=message):
            export_bundle(digits, tmp_path / "b", options, recordings=tmp_path / "r.tsv")
        assert not (tmp_path / "b").exists()

    @pytest.mark.parametrize("value", [-1, 101, float("nan"), "much"])
    def test_a_loss_that_is_none(self, value):
        with pytest.raises(OptionError, match="--max-wer-loss must be 0 to 100"):
            ExportOptions(max_wer_loss=value)
