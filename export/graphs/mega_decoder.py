"""The graph `decoder` of a MEGA decoder."""

import copy
from typing import ClassVar

import torch
from torch import Tensor, nn

from deploy_bias.bundle.contract import (
    Append,
    Count,
    GraphContract,
    ModuleSpec,
    Replace,
    TensorSpec,
)
from deploy_bias.errors import OptionError
from deploy_bias.export.graph import Call, Layout, Tensors
from deploy_bias.export.graphs.decoder import DecoderGraph, decoder_contract, float_spec
from deploy_bias.export.options import ExportOptions
from deploy_bias.export.steps.mega_decoder import MEGADecoderStep
from deploy_bias.model.decoder.feed_forward import NormalizedPositionwiseFeedForward
from deploy_bias.model.decoder.mega import MEGA
from deploy_bias.model.decoder.mega_decoder import MEGADecoder

CONTEXT = 256
"""Rows of a window, where nothing else is asked for."""
FIRST_VALID = {"espnet": 1, "clean": 0}
"""The rows that are valid before the first label, all of them zeros; see
`deploy_bias.export.options.Start`."""


class FlatMEGADecoderStep(nn.Module):
    """`MEGADecoderStep` with its windows side by side: files have inputs, not lists."""

    def __init__(self, step: MEGADecoderStep) -> None:
        super().__init__()
        self.step = step

    def forward(
        self, label: Tensor, valid: Tensor, ema_state: Tensor, *windows: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """`MEGADecoderStep.forward`; the key windows of all blocks, then the value windows."""
        blocks = len(windows) // 2
        outputs: tuple[Tensor, Tensor, Tensor, Tensor] = self.step(
            label, valid, ema_state, list(windows[:blocks]), list(windows[blocks:])
        )
        return outputs


class MEGADecoderGraph(DecoderGraph):
    """One step of a MEGA decoder; its state is that of the moving averages, and windows."""

    MODULE = MEGADecoder
    SETTINGS: ClassVar = {"start": "espnet"}
    decoder: MEGADecoder

    @classmethod
    def contract_of(
        cls, decoder: nn.Module, spec: ModuleSpec, options: ExportOptions
    ) -> GraphContract:
        """Return the contract; see `DecoderGraph.contract_of`."""
        assert isinstance(decoder, MEGADecoder)
        mega, _ = next(decoder.blocks())
        blocks, batch = decoder.num_blocks, options.batch
        context = _context(decoder, options.context)
        averages = (blocks, batch, decoder.output_size, mega.multihead_damped_ema.num_heads)
        kinds = (("key", "keys", mega.qk_size), ("value", "values", mega.v_size))
        windows = [
            (f"{kind}_window_{block}", f"new_{plural}", block, size)
            for kind, plural, size in kinds
            for block in range(blocks)
        ]
        settings = cls.settings_of(options)
        first_valid = FIRST_VALID[settings["start"]]
        return decoder_contract(
            spec,
            batch,
            inputs=(
                TensorSpec(name="valid", dtype="int64", shape=(batch,)),
                float_spec("ema_state", *averages),
                *(float_spec(name, batch, context, size) for name, _, _, size in windows),
            ),
            outputs=(
                float_spec("decoder_out", batch, decoder.output_size),
                float_spec("next_ema_state", *averages),
                *(float_spec(f"new_{plural}", blocks, batch, size) for _, plural, size in kinds),
            ),
            state=(
                Count(
                    input="valid",
                    initial=first_valid,
                    limit=context,
                    restart_at=decoder.chunk_size if decoder.chunk_size > 0 else None,
                ),
                Replace(input="ema_state", output="next_ema_state", batch_axis=1),
                *(
                    Append(input=name, output=output, row=block)
                    for name, output, block, _ in windows
                ),
            ),
            settings=settings,
        )

    def module(self, layout: Layout) -> nn.Module:
        """Return the step; its bias is one row, so there is nothing to lay out."""
        return FlatMEGADecoderStep(MEGADecoderStep(self.decoder, self.context, self.batch)).eval()

    def example_inputs(self) -> tuple[Tensor, ...]:
        """Return label 0 with an empty context."""
        step = MEGADecoderStep(self.decoder, self.context, self.batch)
        label, valid, state, keys, values = step.example_inputs()
        return (label, valid, state, *keys, *values)

    def eager(self, dtype: torch.dtype) -> Call:
        """Return ESPnet's recurrence over the valid rows alone, from the decoder's own modules."""
        return _Recurrence(copy.deepcopy(self.decoder).to(dtype))


def _context(decoder: MEGADecoder, context: int | None) -> int:
    rows = decoder.positions - 1
    chunked = decoder.chunk_size > 0
    if rows < 1:
        raise OptionError(
            "the decoder's chunk_size must be at least 2 to decode label by label, got "
            f"{decoder.chunk_size}; there is no way to export it."
        )
    if context is None:
        return rows if chunked else min(CONTEXT, rows)
    if not (1 <= context <= rows and (context == rows or not chunked)):
        bound = f"{rows}, the decoder's chunk_size less 1" if chunked else f"1 to {rows}"
        raise OptionError(
            f"--context must be {bound} (the new label takes one of its {decoder.positions} "
            f"positions), got {context}."
        )
    return context


class _Recurrence:
    """The decoder's step by its definition: no mask, no folded constant, native normalisations."""

    def __init__(self, decoder: MEGADecoder) -> None:
        self.decoder = decoder

    @torch.no_grad()
    def __call__(self, inputs: Tensors) -> dict[str, Tensor]:
        rows = [self._hypothesis(inputs, index) for index in range(inputs["label"].shape[0])]
        axis = {"decoder_out": 0, "next_ema_state": 1, "new_keys": 1, "new_values": 1}
        return {name: torch.cat([row[name] for row in rows], axis[name]) for name in axis}

    def _hypothesis(self, inputs: Tensors, index: int) -> dict[str, Tensor]:
        valid = int(inputs["valid"][index])
        x = self.decoder.embed(inputs["label"][index])
        states, keys, values = [], [], []
        for block, (mega, feed_forward) in enumerate(self.decoder.blocks()):
            seen_keys, seen_values = (
                window[index, window.shape[1] - valid :]
                for window in (inputs[f"key_window_{block}"], inputs[f"value_window_{block}"])
            )
            state = inputs["ema_state"][block, index]
            x, state, key, value = _block(mega, feed_forward, x, state, seen_keys, seen_values)
            states.append(state)
            keys.append(key)
            values.append(value)
        return {
            "decoder_out": self.decoder.final_norm(x),
            "next_ema_state": torch.stack(states).unsqueeze(1),
            "new_keys": torch.stack(keys),
            "new_values": torch.stack(values),
        }


def _block(
    mega: MEGA,
    feed_forward: NormalizedPositionwiseFeedForward,
    x: Tensor,
    state: Tensor,
    keys: Tensor,
    values: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One block for one label; x (1, D), state (D, H), keys (n, K) and values (n, V)."""
    ema, act = mega.multihead_damped_ema, mega.activation
    damping, decay = torch.sigmoid(ema.damping_factor), torch.sigmoid(ema.decay_factor)
    grown = damping * ema.ema_expansion_matrix
    state = grown[..., 0] * x.T + (1 - damping * decay)[..., 0] * state
    heads = state.shape[-1]
    average = (state * ema.kernel_projection_matrix).sum(-1) * heads**-0.5
    average = act(average + x * ema.residual_weight)

    value = act(mega.proj_v(x))
    residual, qk, gate, intermediate = mega.proj_mx(average).split(mega.mix_sizes(), dim=-1)
    query, key = (act(qk) * mega.qk_weight + mega.qk_bias).split(1)
    keys, values = torch.cat([keys, key]), torch.cat([values, value])
    scores = query @ keys.T * mega.qk_size**-0.5
    scores = scores + mega.rel_pos_bias(keys.shape[0])[-1]
    attended = torch.softmax(scores, dim=-1) @ values
    update = act(intermediate + mega.proj_h(attended * act(gate)))
    x = mega.normalization(x + torch.sigmoid(residual) * (update - x))
    return feed_forward(x), state, key, value
