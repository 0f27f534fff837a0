"""The graph `decoder` of an RWKV decoder."""

import copy
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deploy_bias.bundle.contract import GraphContract, ModuleSpec
from deploy_bias.export.graph import Call, Layout, Tensors
from deploy_bias.export.graphs.decoder import DecoderGraph, recurrent_contract
from deploy_bias.export.options import ExportOptions
from deploy_bias.export.steps.rwkv_decoder import FIRST_MAXIMUM, RWKVDecoderStep
from deploy_bias.model.decoder.rwkv import wkv_step
from deploy_bias.model.decoder.rwkv_decoder import RWKVDecoder

STATES = ("feed_forward_input", "attention_input", "numerator", "denominator", "maximum")


class RWKVDecoderGraph(DecoderGraph):
    """One step of an RWKV decoder; its state is ESPnet's five tensors."""

    MODULE = RWKVDecoder
    SETTINGS: ClassVar = {"start": "clean", "rescale": "espnet"}
    decoder: RWKVDecoder

    @classmethod
    def contract_of(
        cls, decoder: nn.Module, spec: ModuleSpec, options: ExportOptions
    ) -> GraphContract:
        """Return the contract; see `DecoderGraph.contract_of`."""
        assert isinstance(decoder, RWKVDecoder)
        settings = cls.settings_of(options)
        sizes = [decoder.output_size] * 2 + [decoder.attention_size] * 3
        return recurrent_contract(
            spec,
            options.batch,
            decoder.output_size,
            states={
                name: (decoder.num_blocks, options.batch, size)
                for name, size in zip(STATES, sizes, strict=True)
            },
            initial={"maximum": FIRST_MAXIMUM[settings["start"]]},
            settings=settings,
        )

    def module(self, layout: Layout) -> nn.Module:
        """Return the step."""
        return self._step()

    def example_inputs(self) -> tuple[Tensor, ...]:
        """Return label 0 and the state before it."""
        return self._step().example_inputs(self.contract.settings["start"])

    def _step(self) -> RWKVDecoderStep:
        return RWKVDecoderStep(self.decoder, self.batch, self.contract.settings["rescale"])

    def eager(self, dtype: torch.dtype) -> Call:
        """Return the recurrence, from the decoder's own modules."""
        rescales = self.contract.settings["rescale"] == "espnet"
        decoder = copy.deepcopy(self.decoder).to(dtype)
        every = decoder.rescale_every if rescales and decoder.rescale_every > 0 else None

        @torch.no_grad()
        def call(inputs: Tensors) -> dict[str, Tensor]:
            x = decoder.embed_norm(decoder.embed(inputs["label"])[:, 0])
            after = []
            for index, block in enumerate(decoder.blocks()):
                scale = 1.0 if every is None else 2.0 ** -(index // every)
                ffn_before, att_before, *sums = (inputs[name][index] for name in STATES)

                att_input = block.layer_norm_att(x)
                key, value, receptance = block.att.project(att_input, att_before)
                decay, first = -block.att.time_decay.exp(), block.att.time_first
                attended, *sums = wkv_step(decay, first, key, value, *sums)
                x = x + _scaled(block.att.proj_output, receptance * attended, scale)

                ffn_input = block.layer_norm_ffn(x)
                key, receptance = block.ffn.project(ffn_input, ffn_before)
                x = x + receptance * _scaled(block.ffn.proj_value, key, scale)
                if every is not None and (index + 1) % every == 0:
                    x = x / 2
                after.append((ffn_input, att_input, *sums))
            states = (torch.stack(rows) for rows in zip(*after, strict=True))
            return {
                "decoder_out": decoder.final_norm(x),
                **{f"next_{name}": state for name, state in zip(STATES, states, strict=True)},
            }

        return call


def _scaled(linear: nn.Linear, x: Tensor, scale: float) -> Tensor:
    return F.linear(x, linear.weight * scale, linear.bias)
