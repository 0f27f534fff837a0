"""The graph `decoder` of a stateless decoder."""

import copy

import torch
from torch import nn

from deploy_bias.bundle.contract import GraphContract, ModuleSpec
from deploy_bias.export.graph import Call, Layout, Tensors
from deploy_bias.export.graphs.decoder import DecoderGraph, recurrent_contract
from deploy_bias.export.options import ExportOptions
from deploy_bias.export.steps.stateless_decoder import StatelessDecoderStep
from deploy_bias.model.decoder.stateless_decoder import StatelessDecoder


class StatelessDecoderGraph(DecoderGraph):
    """One step of a stateless decoder: it has no state."""

    MODULE = StatelessDecoder
    decoder: StatelessDecoder

    @classmethod
    def contract_of(
        cls, decoder: nn.Module, spec: ModuleSpec, options: ExportOptions
    ) -> GraphContract:
        """Return the contract; see `DecoderGraph.contract_of`."""
        assert isinstance(decoder, StatelessDecoder)
        return recurrent_contract(spec, options.batch, decoder.output_size, states={})

    def module(self, layout: Layout) -> nn.Module:
        """Return the step."""
        return StatelessDecoderStep(self.decoder, self.batch)

    def example_inputs(self) -> tuple[torch.Tensor, ...]:
        """Return label 0."""
        return StatelessDecoderStep(self.decoder, self.batch).example_inputs()

    def eager(self, dtype: torch.dtype) -> Call:
        """Return the decoder's `forward` over one label."""
        decoder = copy.deepcopy(self.decoder).to(dtype)

        @torch.no_grad()
        def call(inputs: Tensors) -> dict[str, torch.Tensor]:
            return {"decoder_out": decoder(inputs["label"])[:, 0]}

        return call
