"""The graph `decoder` of an LSTM or GRU decoder."""

import copy

import torch
from torch import Tensor, nn

from deploy_bias.bundle.contract import GraphContract, ModuleSpec
from deploy_bias.export.graph import Call, Layout, Tensors
from deploy_bias.export.graphs.decoder import DecoderGraph, recurrent_contract
from deploy_bias.export.graphs.recurrent import recur
from deploy_bias.export.options import ExportOptions
from deploy_bias.export.steps.rnn_decoder import RNNDecoderStep
from deploy_bias.model.decoder.rnn_decoder import RNNDecoder

STATES = {"lstm": ("hidden", "cell"), "gru": ("hidden",)}


class RNNDecoderGraph(DecoderGraph):
    """One step of a recurrent decoder; its state is that of the layers."""

    MODULE = RNNDecoder
    decoder: RNNDecoder

    @classmethod
    def contract_of(
        cls, decoder: nn.Module, spec: ModuleSpec, options: ExportOptions
    ) -> GraphContract:
        """Return the contract; see `DecoderGraph.contract_of`."""
        assert isinstance(decoder, RNNDecoder)
        shape = (decoder.num_layers, options.batch, decoder.output_size)
        states = dict.fromkeys(STATES[decoder.rnn_type], shape)
        return recurrent_contract(spec, options.batch, decoder.output_size, states)

    def module(self, layout: Layout) -> nn.Module:
        """Return the step."""
        return RNNDecoderStep(self.decoder, self.batch)

    def example_inputs(self) -> tuple[Tensor, ...]:
        """Return label 0 and a state of zeros."""
        return RNNDecoderStep(self.decoder, self.batch).example_inputs()

    def eager(self, dtype: torch.dtype) -> Call:
        """Return the recurrence by its definition, each product apart."""
        decoder = copy.deepcopy(self.decoder).to(dtype)
        names = STATES[decoder.rnn_type]

        @torch.no_grad()
        def call(inputs: Tensors) -> dict[str, Tensor]:
            x = decoder.embed(inputs["label"])[:, 0]
            after = []
            for index, layer in enumerate(decoder.rnn):
                assert isinstance(layer, nn.RNNBase)
                reached = recur(layer, x, *[inputs[name][index] for name in names])
                after.append(reached)
                x = reached[0]
            states = [torch.stack(rows) for rows in zip(*after, strict=True)]
            return {
                "decoder_out": x,
                **{f"next_{name}": state for name, state in zip(names, states, strict=True)},
            }

        return call
