"""Checkpoints as ESPnet, its trainer and its wrappers write them."""

import datetime

import numpy as np
import pytest
import torch
from torch import nn

from deploy_bias.errors import SourceError
from deploy_bias.export.sources.state_dict import fill, read_state_dict, unwrap

STATE = {
    "encoder.embed.weight": torch.ones(2),
    "decoder.embed.weight": torch.ones(3),
    "joint_network.lin_enc.weight": torch.ones(4),
}


def wrapped(prefix):
    return {f"{prefix}{name}": tensor for name, tensor in STATE.items()}


class TestTrainersCheckpoint:
    def test_its_model_is_read_beside_what_else_the_trainer_writes(self, tmp_path):
        module = nn.Linear(2, 3)
        optimizer = torch.optim.Adam(module.parameters())
        module(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        statistics = {
            "time": datetime.timedelta(seconds=3.5),
            "loss": np.float64(0.5),
            "acc": np.float32(0.5),
            "total_count": np.int64(7),
        }
        torch.save(
            {
                "model": module.state_dict(),
                "reporter": {"epoch": 2, "stats": {1: {"train": statistics}}},
                "optimizers": [optimizer.state_dict()],
                "schedulers": [torch.optim.lr_scheduler.StepLR(optimizer, 3).state_dict(), None],
                "scaler": None,
            },
            tmp_path / "checkpoint.pth",
        )
        state = read_state_dict(tmp_path / "checkpoint.pth")
        assert torch.equal(state["weight"], module.weight)

    def test_no_other_type_is(self, tmp_path):
        torch.save({"model": STATE, "path": tmp_path}, tmp_path / "checkpoint.pth")
        with pytest.raises(SourceError, match="holds more than tensors, which could run code"):
            read_state_dict(tmp_path / "checkpoint.pth")


class TestUnwrap:
    @pytest.mark.parametrize("prefix", ["", "module.", "model.", "asr_model.", "module.model."])
    def test_a_prefix_that_all_share_goes(self, prefix):
        assert unwrap(wrapped(prefix)).keys() == STATE.keys()

    def test_one_that_leads_to_no_transducer_stays(self):
        state = {"lm.rnn.weight": torch.ones(1), "lm.embed.weight": torch.ones(1)}
        assert unwrap(state) == state

    def test_one_that_some_have_stays(self):
        state = wrapped("model.") | {"step": torch.ones(1)}
        assert unwrap(state) == state


def test_the_number_of_batches_may_be_missing():
    norm = nn.BatchNorm1d(3)
    state = {f"x.{name}": tensor for name, tensor in norm.state_dict().items()}
    del state["x.num_batches_tracked"]
    fill(nn.BatchNorm1d(3), "x", state, "conf", "model")
    del state["x.running_var"]
    with pytest.raises(SourceError, match=r"x\.running_var is missing"):
        fill(nn.BatchNorm1d(3), "x", state, "conf", "model")
