"""What `inspect` says of a source, before any export."""

import json

import pytest
import torch
import yaml
from typer.testing import CliRunner

from deploy_bias.export.cli import app
from deploy_bias.export.cli.inspect_source import is_source
from deploy_bias.export.description import describe
from tests.espnet.asr_task import Experiment, config_of

CHUNKS, WHOLE = "audio in chunks", "audio in whole utterances (--offline)"


def edit(folder, **changes):
    config = yaml.safe_load((folder / "config.yaml").read_text()) | changes
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


class TestDescribe:
    def test_a_model_that_streams(self, digits):
        found = describe(digits)
        assert found.facts["task"] == "asr_transducer"
        assert found.facts["decoder"].startswith("mega (block_size ")
        assert found.facts["encoder"].startswith("4 × conformer (hidden_size 96")
        assert found.facts["sampling rate"] == "8000 Hz"
        assert found.facts["tokens"] == "14 word"
        assert found.parameters.keys() == {"encoder", "decoder", "joint network"}
        assert found.exports == {"decoder and joint network": None, CHUNKS: None, WHOLE: None}

    def test_a_model_of_the_asr_task(self, tmp_path):
        folder = tmp_path / "asr"
        tokens = ["<blank2>", "<blank>", "a"]
        Experiment(
            folder,
            config_of(
                "e_branchformer",
                token_list=tokens,
                model_conf={"transducer_multi_blank_durations": [2]},
            ),
            durations=(2, 1),
        )
        found = describe(folder)
        assert found.facts["task"] == "asr"
        assert found.facts["blanks"] == "of 2, 1 frames: only the search mbg decodes them"
        assert "cannot stream" in found.exports.pop(CHUNKS)
        assert set(found.exports.values()) == {None}

    def test_a_model_without_an_encoder(self, experiment):
        folder, _ = experiment()
        found = describe(folder)
        assert "features are made outside" in found.exports["audio"]
        assert found.exports["decoder and joint network"] is None

    def test_a_model_that_cannot_be_read_says_what_it_is_and_why(self, experiment):
        folder, _ = experiment()
        edit(folder, encoder="transformer", decoder="transformer")
        found = describe(folder)
        assert found.facts["encoder"] == found.facts["decoder"] == "transformer"
        assert found.exports["anything"].startswith("decoder 'transformer' of ESPnet's asr task")
        assert found.parameters["decoder"] > 0

    def test_what_export_would_refuse_is_why_not(self, experiment):
        folder, _ = experiment()
        edit(folder, decoder_conf={"surprise": 1})
        assert "'surprise' is unknown" in describe(folder).exports["decoder and joint network"]

    def test_a_bare_state_dict(self, tmp_path):
        torch.save({"relative_position_bias": torch.ones(7)}, tmp_path / "bias.pth")
        found = describe(tmp_path / "bias.pth")
        assert found.facts["biases"] == "1 RelativePositionBias"
        assert found.exports == {"the biases": None}


class TestCommand:
    def test_a_table_and_a_line_for_each_wish(self, experiment):
        folder, _ = experiment()
        result = CliRunner().invoke(app, ["inspect", str(folder)])
        assert result.exit_code == 0, result.output
        assert "asr_transducer" in result.output
        assert "✓ decoder and joint network" in result.output
        assert "✗ audio: the model has no encoder" in result.output

    def test_json(self, experiment):
        folder, _ = experiment()
        result = CliRunner().invoke(app, ["inspect", str(folder), "--json"])
        assert json.loads(result.stdout)["facts"]["task"] == "asr_transducer"

    def test_a_plot_is_of_a_bundle(self, experiment):
        folder, _ = experiment()
        result = CliRunner().invoke(app, ["inspect", str(folder), "--plot", "x.png"])
        assert result.exit_code == 2


@pytest.mark.parametrize(
    ("names", "path", "source"),
    [
        (["config.yaml", "a.pth"], ".", True),
        (["meta.yaml"], ".", True),
        (["a.pth"], ".", True),
        (["manifest.json", "a.yaml"], ".", False),
        ([], ".", False),
        (["a.pth"], "a.pth", True),
        (["pack.zip"], "pack.zip", True),
        (["bias.pt"], "bias.pt", False),
        (["bias.onnx"], "bias.onnx", False),
    ],
)
def test_a_source_is_no_bundle(tmp_path, names, path, source):
    for name in names:
        (tmp_path / name).touch()
    assert is_source(tmp_path / path) is source
