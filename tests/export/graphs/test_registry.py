"""A decoder of a kind that the package does not know: one class and one entry make it run."""

import pytest
import torch
import yaml
from torch import nn

from deploy_bias.bundle import Bundle
from deploy_bias.bundle.contract import Replace
from deploy_bias.errors import SourceError
from deploy_bias.export import ExportOptions, export_bundle, verify
from deploy_bias.export.graphs import DECODERS
from deploy_bias.export.graphs.decoder import DecoderGraph, decoder_contract, float_spec
from deploy_bias.runtime import Decoder, Joint, load, open_search

SIZE = 16


class LeakyDecoder(nn.Module):
    """An average of the embeddings that forgets, and the label before the last."""

    def __init__(self, vocab_size, keep=0.5):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, SIZE)
        self.keep = keep

    def forward(self, label, average, previous):
        x = self.embed(label).view(-1, SIZE)
        average = self.keep * average + (1 - self.keep) * x
        return average + torch.tanh(previous), average, x


class LeakyDecoderGraph(DecoderGraph):
    MODULE = LeakyDecoder

    @classmethod
    def contract_of(cls, decoder, spec, options):
        def state(name):
            return float_spec(name, options.batch, SIZE)

        return decoder_contract(
            spec,
            options.batch,
            inputs=(state("average"), state("previous")),
            outputs=(state("decoder_out"), state("next_average"), state("next_previous")),
            state=(
                Replace(input="average", output="next_average"),
                Replace(input="previous", output="next_previous"),
            ),
        )

    def module(self, layout):
        return self.decoder

    def example_inputs(self):
        label = torch.zeros(self.batch, 1, dtype=torch.int64)
        return label, torch.zeros(self.batch, SIZE), torch.ones(self.batch, SIZE)

    def eager(self, dtype):
        decoder = LeakyDecoder(self.vocab_size, self.decoder.keep).to(dtype)
        decoder.load_state_dict(self.decoder.state_dict())
        names = [spec.name for spec in self.contract.outputs]

        def call(inputs):
            with torch.no_grad():
                outputs = decoder(inputs["label"], inputs["average"], inputs["previous"])
            return dict(zip(names, outputs, strict=True))

        return call


@pytest.fixture
def leaky(experiment):
    """An experiment with that decoder."""
    folder, _ = experiment()
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config |= {"decoder": "leaky", "decoder_conf": {"keep": 0.25}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    path = folder / "valid.loss.best.pth"
    state = torch.load(path, weights_only=True)
    kept = ("decoder.embed.", "joint_network.")
    torch.save({k: v for k, v in state.items() if k.startswith(kept)}, path)
    return folder


@pytest.mark.parametrize("batch", [1, 3])
def test_it_is_exported_proven_and_decoded_with(leaky, tmp_path, monkeypatch, batch):
    monkeypatch.setitem(DECODERS, "leaky", LeakyDecoderGraph)
    backends = ["onnx", "torchscript"]
    export_bundle(leaky, tmp_path / "b", ExportOptions(backends=backends, batch=batch))
    assert verify(Bundle(tmp_path / "b")).passed
    frames = torch.randn(20, 12).numpy()
    results = []
    for backend in backends:
        graphs = load(tmp_path / "b", backend)
        decoder, joint = Decoder(graphs["decoder"]), Joint(graphs["joint"])
        search = open_search("maes", decoder, joint, beam_size=3)
        search.accept(frames)
        results.append(search.results()[0].labels)
    assert results[0] == results[1]


def test_an_unknown_decoder_names_the_known_ones(leaky, tmp_path):
    with pytest.raises(SourceError, match=r"decoder is 'leaky'; supported: .*'mega'"):
        export_bundle(leaky, tmp_path / "b")
