"""The decoder's gate: each fault in the step or its state must turn it red within a rollout."""

import pytest
import torch
from torch import nn

import deploy_bias.export.graphs.mega_decoder as decoder_graphs
from deploy_bias.export import ExportOptions, export_bundle, read_source, verify
from deploy_bias.export.graphs.model import model_graphs
from deploy_bias.export.rollout import run_case
from deploy_bias.export.steps.mega_decoder import MEGADecoderStep
from tests.espnet.models import espnet_rollout


class Faulty(nn.Module):
    """A step whose outputs are tampered with."""

    def __init__(self, decoder, context, batch=1):
        super().__init__()
        self.step = MEGADecoderStep(decoder, context, batch)
        self.example_inputs = self.step.example_inputs

    def forward(self, label, valid, state, keys, values):
        return self.step(label, valid, state, keys, values)


class StateDropped(Faulty):
    def forward(self, label, valid, state, keys, values):
        out, after, new_keys, new_values = self.step(label, valid, state, keys, values)
        return out, after * 0 + state, new_keys, new_values


class WiredToTheWrongBlock(Faulty):
    def forward(self, label, valid, state, keys, values):
        return self.step(label, valid, state, keys[::-1], values)


class KeysOfTheWrongBlock(Faulty):
    def forward(self, label, valid, state, keys, values):
        out, after, new_keys, new_values = self.step(label, valid, state, keys, values)
        return out, after, new_keys.flip(0), new_values


class OneRowTooMany(Faulty):
    def forward(self, label, valid, state, keys, values):
        return self.step(label, valid + 1, state, keys, values)


class PhantomForgotten(Faulty):
    def forward(self, label, valid, state, keys, values):
        return self.step(label, (valid - 1).clamp(min=0), state, keys, values)


class HalfInTheMiddle(Faulty):
    def forward(self, label, valid, state, keys, values):
        return self.step(label, valid, state.half().float(), keys, values)


class StaleBias(Faulty):
    def __init__(self, decoder, context, batch=1):
        super().__init__(decoder, context, batch)
        self.step.blocks[0].bias_window.mul_(1.01)


class WeightOffByAPercent(Faulty):
    def __init__(self, decoder, context, batch=1):
        super().__init__(decoder, context, batch)
        self.step.blocks[1].linear2.weight[0, 0] *= 1.01


@pytest.mark.parametrize("fault", Faulty.__subclasses__())
@torch.no_grad()
def test_a_faulty_step(experiment, tmp_path, monkeypatch, export_unproven, fault):
    folder, _ = experiment()
    monkeypatch.setattr(decoder_graphs, "MEGADecoderStep", fault)
    report = verify(export_unproven(folder, tmp_path / "b", backends=["torchscript"]))
    failed = {r.graph for r in report.results if not r.passed}
    # The joint network is fed by this decoder, so its labels may differ too.
    assert "decoder" in failed
    assert "bias_0" not in failed


@pytest.mark.parametrize(
    "options", [{}, {"rel_pos_bias_type": "rotary"}, {"chunk_size": 6}], ids=str
)
def test_the_eager_reference_is_espnets_inference(experiment, options):
    folder, theirs = experiment(**options)
    graphs = model_graphs(read_source(folder), ExportOptions())
    (graph,) = [graph for graph in graphs if graph.contract.name == "decoder"]
    steps = graph._feed(list(range(7)) * 2)
    got = run_case(graph.contract, graph.eager(torch.float32), steps, torch.float32)
    labels = torch.cat([step.inputs["label"] for step in steps], dim=1)
    expected = espnet_rollout(theirs, labels)[0]
    torch.testing.assert_close(got["decoder_out"][:, 0], expected, rtol=1e-5, atol=1e-5)


def test_a_freshly_initialised_model(experiment, tmp_path):
    # The embedding of blank is zero and so are the biases: a variance of zero, of which only the
    # epsilon of 1e-12 keeps the inverse root finite, on every backend.
    folder, _ = experiment()
    path = folder / "valid.loss.best.pth"
    state = torch.load(path, weights_only=True)
    state["decoder.embed.weight"][0] = 0.0
    state = {k: v * 0 if k.endswith("bias") and v.dim() == 1 else v for k, v in state.items()}
    torch.save(state, path)
    assert export_bundle(folder, tmp_path / "b").passed


def test_hypotheses_of_a_batch_have_labels_of_their_own(experiment):
    folder, _ = experiment()
    graphs = model_graphs(read_source(folder), ExportOptions(batch=3))
    (graph,) = [graph for graph in graphs if graph.contract.name == "decoder"]
    first = graph.cases()["padding"][0].inputs["label"]
    assert first.tolist() == [[0], [1], [2]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"context": 20}, r"--context must be 1 to 19 .*got 20"),
        ({"context": 0}, "--context must be 1 to 19"),
        ({"start": "phantom"}, "--start must be espnet or clean, got 'phantom'"),
    ],
)
def test_options_out_of_range(experiment, tmp_path, options, message):
    folder, _ = experiment()
    with pytest.raises(ValueError, match=message):
        export_bundle(folder, tmp_path / "b", ExportOptions(backends=["torchscript"], **options))
    assert not (tmp_path / "b").exists()
