"""What an experiment lacks, or has and is not supported, is named."""

import pytest
import torch
import yaml
from espnet2.asr_transducer.joint_network import JointNetwork

from deploy_bias.errors import SourceError
from deploy_bias.export import ExportOptions, read_source
from deploy_bias.export.graphs.model import model_graphs
from tests.espnet.models import largest


def graphs_of(folder):
    return model_graphs(read_source(folder), ExportOptions())


def edit(folder, change):
    config = yaml.safe_load((folder / "config.yaml").read_text())
    change(config)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["decoder_conf"].update(activation_type="gelu"), r"decoder_conf: .*gelu"),
        (lambda c: c["decoder_conf"].update(normalization_type="batch"), r"decoder_conf: .*batch"),
        (lambda c: c["decoder_conf"].update(surprise=1), "'surprise' is unknown, supp"),
        (
            lambda c: c["decoder_conf"].update(rel_pos_bias_type="alibi"),
            "rel_pos_bias_type must be 'simple' or 'rotary'",
        ),
        (lambda c: c["decoder_conf"].update(qk_size=6), r"not fit decoder_conf: .*has shape \(2, "),
        (lambda c: c["decoder_conf"].update(num_blocks=3), "the weights do not fit decoder_conf"),
        (lambda c: c.update(joint_network_conf={}), "the weights do not fit joint_network_conf"),
        (lambda c: c.pop("token_list"), r"token_list: expected a list of 7 tokens.*got None"),
        (lambda c: c["token_list"].append("x"), "token_list: .* got 8 entries"),
    ],
)
def test_a_config_that_does_not_fit(experiment, change, message):
    folder, _ = experiment()
    edit(folder, change)
    with pytest.raises(SourceError, match=message):
        graphs_of(folder)


@pytest.mark.parametrize("missing", ["decoder.embed.weight", "joint_network.lin_enc.weight"])
def test_a_checkpoint_of_a_part(experiment, missing):
    folder, _ = experiment()
    path = folder / "valid.loss.best.pth"
    state = torch.load(path, weights_only=True)
    del state[missing]
    torch.save(state, path)
    with pytest.raises(SourceError, match=f"{missing} is missing; expected the whole model"):
        graphs_of(folder)


def test_weights_that_diverged(experiment):
    folder, _ = experiment()
    path = folder / "valid.loss.best.pth"
    state = torch.load(path, weights_only=True)
    state["joint_network.lin_out.bias"][0] = torch.nan
    torch.save(state, path)
    with pytest.raises(SourceError, match=r"joint_network\.lin_out\.bias: expected finite"):
        graphs_of(folder)


def test_what_espnet_saves_unfilled_may_be_anything(experiment):
    folder, _ = experiment(rel_pos_bias_type="rotary")
    path = folder / "valid.loss.best.pth"
    state = torch.load(path, weights_only=True)
    placeholders = [name for name in state if name.endswith("rel_pos_bias._pe")]
    for name in placeholders:
        state[name].fill_(torch.nan)
    torch.save(state, path)
    assert placeholders
    assert graphs_of(folder)


@pytest.mark.parametrize(
    "conf",
    [
        {"joint_activation_type": "hardtanh", "hardtanh_min_val": -2.0, "hardtanh_max_val": 1.5},
        {"joint_activation_type": "leaky_relu", "leakyrelu_neg_slope": 0.3},
        {"joint_activation_type": "swish", "swish_beta": 1.5},
    ],
    ids=lambda conf: conf["joint_activation_type"],
)
@torch.no_grad()
def test_the_options_of_the_joint_networks_activation_are_read(experiment, conf):
    folder, _ = experiment()
    edit(folder, lambda config: config["joint_network_conf"].update(conf))
    joint = next(graph.joint for graph in graphs_of(folder) if graph.contract.kind == "joint")
    theirs = JointNetwork(7, 12, 16, joint_space_size=10, **conf)
    theirs.load_state_dict(joint.state_dict(), strict=True)
    frame, out = 3 * torch.randn(5, 12), torch.randn(5, 16)
    assert largest(joint(frame, out) - theirs(frame, out)) < 1e-6


@pytest.mark.parametrize("name", ["activation_parameters", "hardtanh_minimum"])
def test_one_that_espnet_does_not_know_is_refused(experiment, name):
    folder, _ = experiment()
    edit(folder, lambda config: config["joint_network_conf"].update({name: 1.0}))
    with pytest.raises(SourceError, match=f"joint_network_conf: activation option '{name}'"):
        graphs_of(folder)


class TestTokenList:
    def test_a_path_is_read(self, experiment):
        folder, _ = experiment()
        tokens = read_source(folder).vocabulary.tokens
        (folder / "tokens.txt").write_text("\n".join(tokens) + "\n")
        edit(folder, lambda config: config.update(token_list="data/token_list/tokens.txt"))
        assert read_source(folder).vocabulary.tokens == tokens

    def test_one_that_is_not_there_is_named(self, experiment):
        folder, _ = experiment()
        edit(folder, lambda config: config.update(token_list="data/tokens.txt"))
        with pytest.raises(SourceError, match=r"data/tokens\.txt is not there; put the file"):
            read_source(folder)


class TestNotes:
    def test_a_sentencepiece_model_that_is_not_there(self, experiment):
        folder, _ = experiment()
        edit(folder, lambda config: config.update(token_type="bpe", bpemodel="data/bpe.model"))
        source = read_source(folder)
        assert source.notes == (
            "bpemodel data/bpe.model is not there: pieces are joined without it",
        )
        (folder / "bpe.model").write_bytes(b"model")
        source = read_source(folder)
        assert source.notes == ()
        assert source.vocabulary.bpe_model == b"model"

    def test_the_volume_that_espnets_command_normalises(self, experiment):
        folder, _ = experiment()
        edit(folder, lambda config: config.update(speech_volume_normalize=1.0))
        assert "speech_volume_normalize is 1.0" in read_source(folder).notes[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"main_conf": {"rel_pos_type": "legacy"}}, "main_conf: option 'rel_pos_type' is unknown"),
        (
            {"body_conf": [{"block_type": "ebranchformer", "cgmlp_linear_units": 8}]},
            "body_conf: option 'cgmlp_linear_units' is unknown; ESPnet has it in its asr task",
        ),
    ],
)
def test_an_option_of_the_asr_task_is_none_of_this(experiment, change, message):
    folder, _ = experiment()
    edit(folder, lambda config: config.update(encoder_conf=change))
    with pytest.raises(SourceError, match=message):
        read_source(folder)


def test_a_decoder_with_attention_is_named(experiment):
    folder, _ = experiment()
    edit(folder, lambda config: config.update(encoder="conformer", decoder="transformer"))
    with pytest.raises(SourceError, match="decoder 'transformer' of ESPnet's asr task is not supp"):
        read_source(folder)
