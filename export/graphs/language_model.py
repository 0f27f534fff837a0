"""The graph `lm` of a recurrent language model, which a search adds to the transducer's scores."""

import copy

import torch
from torch import Tensor, nn

from deploy_bias.bundle.contract import GraphContract, ModuleSpec
from deploy_bias.export.graph import Call, Layout, Tensors
from deploy_bias.export.graphs.decoder import DecoderGraph, float_spec, recurrent_contract
from deploy_bias.export.graphs.recurrent import recur
from deploy_bias.export.options import ExportOptions
from deploy_bias.export.steps.language_model import LanguageModelStep
from deploy_bias.model.language_model import SequentialRNNLM

LM = "lm"
"""The name and kind of the graph, and ESPnet's prefix of the weights."""


class LanguageModelGraph(DecoderGraph):
    """One step of a language model: as a decoder, but its output is the logits."""

    MODULE = SequentialRNNLM
    SECTION = "lm_conf"
    decoder: SequentialRNNLM

    @classmethod
    def contract_of(
        cls, decoder: nn.Module, spec: ModuleSpec, options: ExportOptions
    ) -> GraphContract:
        """Return the contract; see `DecoderGraph.contract_of`."""
        assert isinstance(decoder, SequentialRNNLM)
        batch = options.batch
        shape = (decoder.num_layers, batch, decoder.hidden_size)
        names = ("hidden", "cell") if decoder.rnn_type == "lstm" else ("hidden",)
        contract = recurrent_contract(spec, batch, decoder.vocab_size, dict.fromkeys(names, shape))
        outputs = (float_spec("logits", batch, decoder.vocab_size), *contract.outputs[1:])
        return contract.model_copy(update={"name": LM, "kind": LM, "outputs": outputs})

    def module(self, layout: Layout) -> nn.Module:
        """Return the step."""
        return LanguageModelStep(self.decoder, self.batch)

    def example_inputs(self) -> tuple[Tensor, ...]:
        """Return label 0 and a state of zeros."""
        return LanguageModelStep(self.decoder, self.batch).example_inputs()

    def eager(self, dtype: torch.dtype) -> Call:
        """Return the recurrence by its definition, each product apart."""
        model = copy.deepcopy(self.decoder).to(dtype)
        layers = model.layers()
        names = ("hidden", "cell") if model.rnn_type == "lstm" else ("hidden",)

        @torch.no_grad()
        def call(inputs: Tensors) -> dict[str, Tensor]:
            x = model.encoder(inputs["label"])[:, 0]
            after = []
            for index, layer in enumerate(layers):
                reached = recur(layer, x, *[inputs[name][index] for name in names])
                after.append(reached)
                x = reached[0]
            states = [torch.stack(rows) for rows in zip(*after, strict=True)]
            return {
                "logits": model.decoder(x),
                **{f"next_{name}": state for name, state in zip(names, states, strict=True)},
            }

        return call
