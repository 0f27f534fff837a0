"""What an experiment lacks, or has and is not supported, is named."""

import pytest
import torch
import yaml

from deploy_bias.errors import SourceError
from deploy_bias.export import ExportOptions, read_source
from deploy_bias.export.graphs.model import model_graphs


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
