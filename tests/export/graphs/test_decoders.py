"""Experiments with an rnn, a stateless and an rwkv decoder, from the folder to every runtime."""

import numpy as np
import pytest
import torch
from torch import nn

import deploy_bias.export.graphs.rnn_decoder as rnn_graphs
import deploy_bias.export.graphs.rwkv_decoder as rwkv_graphs
from deploy_bias.errors import OptionError
from deploy_bias.export import ExportOptions, read_source, verify
from deploy_bias.export.graphs.model import model_graphs
from deploy_bias.export.rollout import run_case
from deploy_bias.export.steps.rnn_decoder import RNNDecoderStep
from deploy_bias.export.steps.rwkv_decoder import RWKVDecoderStep
from deploy_bias.runtime import Decoder, load
from tests.deploy_bias.runtime.search.test_search import espnet_search, frames, same, search
from tests.espnet.decoders import espnet_rollout
from tests.espnet.experiments import write_decoder
from tests.espnet.models import random_labels

ALL = ("onnx", "executorch", "torchscript")
MODELS = {
    "lstm": ("rnn", {"num_layers": 2}, ALL, {"precisions": ("fp32", "int8")}),
    "gru": (
        "rnn",
        {"rnn_type": "gru", "num_layers": 2},
        ("onnx",),
        {"precisions": ("fp32", "int8", "int4"), "batch": 3},
    ),
    "stateless": ("stateless", {}, ("onnx",), {"precisions": ("fp32", "int8"), "batch": 2}),
    "rwkv": (
        "rwkv",
        {"num_blocks": 2, "rescale_every": 1},
        ALL,
        {"precisions": ("fp32", "int8")},
    ),
}
"""ESPnet's name of a decoder, its options, the backends, options of the export."""
BACKENDS = [(name, backend) for name, model in MODELS.items() for backend in model[2]]


@pytest.fixture(scope="session")
def exported(tmp_path_factory, shared):
    """Return the experiment folder of a model, ESPnet's decoder, and the bundle."""

    def make(name):
        kind, conf, backends, options = MODELS[name]
        folder = tmp_path_factory.mktemp(name) / "experiment"
        theirs = write_decoder(folder, kind, **conf)
        bundle = shared(f"decoder-{name}", folder, backends=backends, **options)
        return folder, theirs, bundle

    return make


def rollout(graph, labels):
    """Decode labels (T,) by the decoder of a bundle, and return the outputs (T, D)."""
    with Decoder(graph).stream() as stream:
        state, outputs = stream.start(), []
        for label in labels:
            out, (state,) = stream.step([state], [label])
            outputs.append(out[0])
    return np.stack(outputs)


@pytest.mark.parametrize(("name", "backend"), BACKENDS)
def test_200_labels_are_decoded_as_by_espnet(exported, name, backend):
    _, theirs, bundle = exported(name)
    labels = random_labels(1, 200)
    out = rollout(load(bundle, backend)["decoder"], labels[0].tolist())
    expected = espnet_rollout(theirs, labels)[0].numpy()
    np.testing.assert_allclose(out, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("name", "backend"), BACKENDS)
def test_searches_give_espnets_labels_and_scores(exported, name, backend):
    folder, _, bundle = exported(name)
    graphs = load(bundle, backend)
    pieces = frames(12, size=12, scale=1.5)
    for kind, beam_size in (("default", 1), ("default", 4), ("maes", 4)):
        theirs = espnet_search(folder, [pieces], kind, beam_size=beam_size)
        same(theirs, search(graphs, [pieces], kind, beam_size=beam_size))


@pytest.mark.parametrize(("name", "backend"), [b for b in BACKENDS if b[1] != "torchscript"])
def test_int8_runs_and_is_another_graph(exported, name, backend):
    _, _, bundle = exported(name)
    labels = random_labels(1, 30)[0].tolist()
    exact, out = (
        rollout(load(bundle, backend, precision)["decoder"], labels)
        for precision in ("fp32", "int8")
    )
    # A stateless decoder has nothing to quantise.
    assert (np.abs(out - exact).max() > 0) == (name != "stateless")
    assert np.abs(out - exact).max() < 0.2


@pytest.mark.parametrize("name", ["lstm", "rwkv"])
def test_all_but_the_embedding_is_delegated(exported, name):
    _, _, bundle = exported(name)
    for artifact in bundle.manifest.artifacts:
        if artifact.backend == "executorch":
            outside = artifact.operators["decoder"].undelegated
            assert outside == {"aten.embedding.default": 1}


@pytest.mark.parametrize("name", ["lstm", "rwkv"])
def test_hypotheses_fork(exported, name):
    _, _, bundle = exported(name)
    graph = load(bundle, "onnx")["decoder"]
    with Decoder(graph).stream() as stream:
        _, (state,) = stream.step([stream.start()], [0])
        _, forks = stream.step([state, state], [3, 5])
        out, _ = stream.step(forks, [2, 2])
    for row, label in zip(out, (3, 5), strict=True):
        np.testing.assert_array_equal(row, rollout(graph, [0, label, 2])[-1])


class TestOptions:
    """What a kind of decoder does not have is refused by its name; rwkv has both of two."""

    def graph(self, folder, **options):
        graphs = model_graphs(read_source(folder), ExportOptions(**options))
        return next(graph for graph in graphs if graph.contract.kind == "decoder")

    @pytest.mark.parametrize("kind", ["rnn", "stateless"])
    @pytest.mark.parametrize("option", [{"start": "clean"}, {"rescale": "clean"}, {"context": 8}])
    def test_none_of_rnn_and_stateless(self, tmp_path, kind, option):
        write_decoder(tmp_path / "e", kind)
        (name,) = option
        with pytest.raises(OptionError, match=f"--{name}: decoder {kind} has no"):
            self.graph(tmp_path / "e", **option)

    def test_no_context_of_rwkv(self, tmp_path):
        write_decoder(tmp_path / "e", "rwkv")
        with pytest.raises(OptionError, match="--context: decoder rwkv has no windows"):
            self.graph(tmp_path / "e", context=8)

    @pytest.mark.parametrize("option", ["start", "rescale"])
    def test_another_name(self, tmp_path, option):
        write_decoder(tmp_path / "e", "rwkv")
        with pytest.raises(OptionError, match=f"--{option} must be espnet or clean, got 'half'"):
            self.graph(tmp_path / "e", **{option: "half"})

    @pytest.mark.parametrize("start", ["espnet", "clean"])
    @pytest.mark.parametrize("rescale", ["espnet", "clean"])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_the_reference_is_espnets_in_each(self, tmp_path, start, rescale, dtype):
        theirs = write_decoder(tmp_path / "e", "rwkv", num_blocks=5, rescale_every=2)
        graph = self.graph(tmp_path / "e", start=start, rescale=rescale)
        labels = random_labels(1, 60)
        steps = graph._feed(labels[0].tolist())
        got = run_case(graph.contract, graph.eager(dtype), steps, dtype)["decoder_out"]
        expected = espnet_rollout(theirs.to(dtype), labels, start=start, rescale=rescale)[0]
        limit = 1e-5 if dtype == torch.float32 else 1e-12
        torch.testing.assert_close(got[:, 0], expected, atol=limit, rtol=limit)

    def test_the_defaults(self, tmp_path):
        write_decoder(tmp_path / "e", "rwkv")
        contract = self.graph(tmp_path / "e").contract
        assert contract.settings == {"start": "clean", "rescale": "espnet"}
        assert [rule.initial for rule in contract.state] == [0.0, 0.0, 0.0, 0.0, -1e38]


class StateDropped:
    def forward(self, label, *states):
        out, after, *rest = super().forward(label, *states)
        return out, after * 0 + states[0], *rest


class LastStateDropped:
    def forward(self, label, *states):
        *others, after = super().forward(label, *states)
        return *others, after * 0 + states[-1]


class HalfInTheMiddle:
    def forward(self, label, *states):
        return super().forward(label, states[0].half().float(), *states[1:])


class RecurrentWeightOff:
    def __init__(self, *arguments):
        super().__init__(*arguments)
        linear = next(m for m in self.modules() if isinstance(m, nn.Linear))
        linear.weight[0, 0] *= 1.01


class NotRescaled:
    def __init__(self, decoder, batch, rescale):
        super().__init__(decoder, batch, "clean")


FAULTS = [
    *(
        ("rnn", fault)
        for fault in (StateDropped, LastStateDropped, HalfInTheMiddle, RecurrentWeightOff)
    ),
    *(("rwkv", fault) for fault in (LastStateDropped, NotRescaled)),
]


@pytest.mark.parametrize(("kind", "fault"), FAULTS)
@torch.no_grad()
def test_a_faulty_step_turns_the_gate_red(tmp_path, monkeypatch, export_unproven, kind, fault):
    conf = {"rescale_every": 1, "num_blocks": 2} if kind == "rwkv" else {}
    write_decoder(tmp_path / "e", kind, **conf)
    step = {"rnn": RNNDecoderStep, "rwkv": RWKVDecoderStep}[kind]
    module = {"rnn": rnn_graphs, "rwkv": rwkv_graphs}[kind]
    monkeypatch.setattr(module, step.__name__, type("Faulty", (fault, step), {}))
    report = verify(export_unproven(tmp_path / "e", tmp_path / "b", backends=["torchscript"]))
    failed = {r.graph for r in report.results if not r.passed}
    assert "decoder" in failed
