"""Reading what ESPnet trained: every form it comes in, and every way it can be wrong."""

import pickle

import pytest
import torch
import yaml
from safetensors.torch import save_file

from deploy_bias import RelativePositionBias, RotaryRelativePositionBias
from deploy_bias.errors import SourceError
from deploy_bias.export import ExportOptions, read_source
from deploy_bias.export.graphs.bias import BiasGraph
from deploy_bias.export.graphs.model import model_graphs

PREFIX = "decoder.mega_blocks.0.0.rel_pos_bias"


def biases(source, **files):
    """The bias modules of an experiment or a state_dict, by the prefix of their parameters."""
    graphs = model_graphs(read_source(source, **files), ExportOptions())
    return {g.contract.module.weights: g.bias for g in graphs if isinstance(g, BiasGraph)}


class Bomb:
    """A pickle that runs code when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


class TestExperimentFolder:
    def test_the_shipped_model(self, digits):
        modules = biases(digits)
        assert list(modules) == [PREFIX]
        bias = modules[PREFIX]
        assert isinstance(bias, RotaryRelativePositionBias)
        assert (bias.size, bias.max_positions) == (32, 128)
        state = torch.load(digits / "valid.loss.best.pth", weights_only=True)
        assert torch.equal(bias.alpha, state[f"{PREFIX}.alpha"])
        assert torch.equal(bias.beta, state[f"{PREFIX}.beta"])

    @pytest.mark.parametrize("kind", ["simple", "rotary"])
    def test_every_block_in_order(self, experiment, kind):
        folder, decoder = experiment(rel_pos_bias_type=kind, num_blocks=3)
        modules = biases(folder)
        assert list(modules) == [f"decoder.mega_blocks.{i}.0.rel_pos_bias" for i in range(3)]
        for (block, _), bias in zip(decoder.mega_blocks, modules.values(), strict=True):
            torch.testing.assert_close(bias(20), block.rel_pos_bias(20), rtol=0, atol=1e-5)

    @pytest.mark.parametrize("kind", ["simple", "rotary"])
    def test_chunk_size_takes_the_place_of_max_positions(self, experiment, kind):
        folder, _ = experiment(rel_pos_bias_type=kind, chunk_size=6)
        assert {bias.max_positions for bias in biases(folder).values()} == {6}

    def test_espnets_defaults_where_the_config_is_silent(self, experiment):
        folder, _ = experiment(max_positions=2048)
        config = yaml.safe_load((folder / "config.yaml").read_text())
        del config["decoder_conf"]["max_positions"]
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        assert {bias.max_positions for bias in biases(folder).values()} == {2048}

    def test_the_usual_one_of_several_checkpoints(self, experiment):
        folder, _ = experiment()
        torch.save({}, folder / "1epoch.pth")
        assert read_source(folder).info["checkpoint"] == "valid.loss.best.pth"

    def test_several_checkpoints_and_none_usual(self, experiment):
        folder, _ = experiment()
        (folder / "valid.loss.best.pth").rename(folder / "1epoch.pth")
        (folder / "2epoch.pth").write_bytes(b"")
        with pytest.raises(SourceError, match=r"found 1epoch\.pth, 2epoch\.pth\. Choose with --ch"):
            read_source(folder)
        assert biases(folder, checkpoint=folder / "1epoch.pth")

    def test_both_files_by_option(self, experiment):
        folder, _ = experiment()
        options = {"config": folder / "config.yaml", "checkpoint": folder / "valid.loss.best.pth"}
        assert biases(None, **options)

    def test_no_checkpoint(self, tmp_path):
        (tmp_path / "config.yaml").write_text("decoder: mega")
        with pytest.raises(SourceError, match="found none"):
            read_source(tmp_path)
        with pytest.raises(SourceError, match="no checkpoint given"):
            read_source(None)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("[1", "not YAML"),
            ("word", "a mapping of options"),
            ("!!python/object/apply:os.system ['true']", "not YAML"),
        ],
    )
    def test_no_configuration(self, experiment, text, message):
        folder, _ = experiment()
        (folder / "config.yaml").write_text(text)
        with pytest.raises(SourceError, match=message):
            read_source(folder)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"decoder": "lstm"}, "decoder is 'lstm'; supported: 'mega'"),
            ({"decoder_conf": [1]}, "decoder_conf: expected a mapping"),
            ({"decoder_conf": {"chunk_size": None}}, "decoder_conf: .*chunk_size.*None"),
            ({"decoder_conf": {"max_positions": 9.5}}, "decoder_conf: .*9.5"),
            ({"decoder_conf": {"max_positions": 0}}, "decoder_conf: max_positions .*0"),
        ],
        ids=str,
    )
    def test_a_configuration_of_something_else(self, experiment, change, message):
        folder, _ = experiment()
        config = yaml.safe_load((folder / "config.yaml").read_text()) | change
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        with pytest.raises(SourceError, match=message):
            biases(folder)

    def test_no_config(self, experiment):
        folder, _ = experiment()
        (folder / "config.yaml").unlink()
        with pytest.raises(SourceError, match=r"config\.yaml: missing; .*--config"):
            read_source(folder)

    def test_a_config_of_another_model(self, experiment):
        folder, _ = experiment(rel_pos_bias_type="simple")
        text = (folder / "config.yaml").read_text()
        (folder / "config.yaml").write_text(text.replace("simple", "rotary"))
        with pytest.raises(SourceError, match=r"rel_pos_bias.alpha is missing"):
            biases(folder)
        (folder / "config.yaml").write_text(text.replace("max_positions: 20", "max_positions: 9"))
        with pytest.raises(SourceError, match=r"bias has shape \(39,\), expected \(17,\)"):
            biases(folder)


class TestBareStateDict:
    @pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"model": state, "x": 1}])
    def test_pth(self, tmp_path, wrap):
        module = RelativePositionBias(9)
        torch.save(wrap(module.state_dict()), tmp_path / "bias.pth")
        modules = biases(tmp_path / "bias.pth")
        assert torch.equal(modules[""](9), module(9))

    def test_safetensors(self, tmp_path):
        module = RotaryRelativePositionBias(8, 2048)
        save_file(
            {f"a.b.{k}": v for k, v in module.state_dict().items()}, tmp_path / "b.safetensors"
        )
        modules = biases(tmp_path / "b.safetensors")
        assert torch.equal(modules["a.b"](50), module(50))

    def test_rotary_has_espnets_default_positions(self, tmp_path):
        torch.save(RotaryRelativePositionBias(8, 20).state_dict(), tmp_path / "bias.pth")
        assert biases(tmp_path / "bias.pth")[""].max_positions == 2048

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_other_precisions_are_read_as_float32(self, tmp_path, dtype):
        state = RelativePositionBias(9).to(dtype).state_dict()
        torch.save(state, tmp_path / "bias.pth")
        bias = biases(tmp_path / "bias.pth")[""]
        assert bias.relative_position_bias.dtype == torch.float32
        assert torch.equal(bias.relative_position_bias, state["relative_position_bias"].float())

    def test_a_pickle_that_carries_code_is_not_run(self, tmp_path):
        touched = tmp_path / "touched"
        torch.save({"a": Bomb(touched)}, tmp_path / "new.pth")
        (tmp_path / "old.pth").write_bytes(pickle.dumps({"a": Bomb(touched)}))
        for name in ("new.pth", "old.pth"):
            with pytest.raises(SourceError, match="could run code, so it is not read"):
                read_source(tmp_path / name)
        assert not touched.exists()

    @pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
    @pytest.mark.parametrize("content", [b"", b"garbage" * 100, b"PK\x03\x04" + b"\0" * 50])
    def test_corrupt(self, tmp_path, name, content):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SourceError, match=name):
            read_source(tmp_path / name)

    @pytest.mark.parametrize(
        ("state", "message"),
        [
            ({"w": torch.zeros(3)}, "holds no relative position bias"),
            ({"relative_position_bias": torch.zeros(4)}, r"expected shape \(2P - 1,\), got \(4,\)"),
            ({"alpha": torch.zeros(1, 3), "beta": torch.zeros(1, 3)}, r"\(1, even\), got \(1, 3\)"),
            (
                {"alpha": torch.zeros(1, 4), "beta": torch.zeros(1, 6)},
                r"beta has shape \(1, 6\), expected \(1, 4\)",
            ),
            ({"alpha": torch.zeros(1, 0), "beta": torch.zeros(1, 0)}, r"\(1, even\), got \(1, 0\)"),
            ({"alpha": torch.zeros(4), "beta": torch.zeros(4)}, r"\(1, even\), got \(4,\)"),
            ({"alpha": torch.zeros(1, 4)}, "holds no relative position bias"),
            ({"relative_position_bias": torch.zeros(0)}, r"\(2P - 1,\), got \(0,\)"),
            ({"relative_position_bias": torch.full((3,), torch.nan)}, "expected finite"),
            ({"relative_position_bias": torch.full((3,), -torch.inf)}, "expected finite"),
            ({"relative_position_bias": torch.full((3,), 1e300, dtype=torch.float64)}, "finite"),
            ({1: torch.zeros(3)}, "expected a state_dict"),
            ({"relative_position_bias": torch.zeros(3, dtype=torch.int64)}, "floating-point"),
            ([1, 2], "expected a state_dict"),
            ({"epoch": 3}, "expected a state_dict"),
        ],
    )
    def test_contents_that_cannot_be_exported(self, tmp_path, state, message):
        torch.save(state, tmp_path / "x.pth")
        with pytest.raises(SourceError, match=message):
            read_source(tmp_path / "x.pth")

    @pytest.mark.parametrize("missing", ["alpha", "beta"])
    def test_half_a_rotary_bias(self, tmp_path, missing):
        state = {f"a.{k}": v for k, v in RotaryRelativePositionBias(4, 9).state_dict().items()}
        state |= {f"b.{k}": v for k, v in RotaryRelativePositionBias(4, 9).state_dict().items()}
        del state[f"a.{missing}"]
        torch.save(state, tmp_path / "x.pth")
        with pytest.raises(SourceError, match=rf"a\.{missing} is missing"):
            read_source(tmp_path / "x.pth")

    def test_a_path_that_does_not_exist(self, tmp_path):
        with pytest.raises(SourceError, match="no such file or folder"):
            read_source(tmp_path / "x.pth")
