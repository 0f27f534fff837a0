"""The encoder of ESPnet's `asr_transducer`: features in, encoder frames out.

Legend of the shapes: B batch, F feature frames, M n_mels, T encoder frames, D output_size.
Source: `espnet2.asr_transducer.encoder.encoder` and `.modules.multi_blocks`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from deploy_bias.model.encoder.branchformer import Branchformer
from deploy_bias.model.encoder.conformer import Conformer
from deploy_bias.model.encoder.conv1d import Conv1d
from deploy_bias.model.encoder.conv_input import make_conv_input
from deploy_bias.model.encoder.ebranchformer import EBranchformer
from deploy_bias.model.encoder.options import BLOCK_TYPES, MainOptions, read_block, read_main, whole
from deploy_bias.model.encoder.positions import (
    LEGACY_FRAMES,
    legacy_positions,
    relative_positions,
)


class Encoder(nn.Module):
    """An input block, body blocks and a last normalisation, with every frame in sight of every one.

    For inference: what acts in training alone (dropout rates, blockdrop_rate, short_chunk_size,
    num_left_chunks and their like) is accepted and has no effect. With dynamic_chunk_training
    ESPnet draws the size of its chunks at random in eval mode too, so `Speech2Text` gives another
    result each time it is asked; this is what it gives when it draws the whole utterance.

    For streaming, see `deploy_bias.export.steps.encoder.EncoderStep`.

    Args:
        input_size: M.
        body_conf: a mapping for each kind of block, first block first.
        input_conf: the input block.
        main_conf: what the blocks share.

    Attributes:
        stride, offset: F feature frames give (F - offset) // stride encoder frames, one for each
            stride + offset feature frames that it sees by convolution.
        legacy: whether its attention takes ESPnet's legacy positions.
        least_frames: the smallest F.
        most_frames: the largest F with legacy positions, else None.

    Raises:
        TypeError: an option is of the wrong type.
        ValueError: an option is missing, unknown or out of its range, or blocks do not fit.
    """

    def __init__(
        self,
        input_size: int,
        body_conf: Sequence[Mapping[str, Any]],
        input_conf: Mapping[str, Any] | None = None,
        main_conf: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        main = read_main(main_conf or {})
        body = _unroll(body_conf)
        self.input_size = input_size
        self.embed = make_conv_input(input_conf or {}, body[0][1], input_size)
        if self.embed.output_size % 2:
            raise ValueError(
                "the input block must have an even output size, half sines and half cosines of "
                f"its positions, got {self.embed.output_size}."
            )
        self.encoders = _Blocks(body, self.embed.output_size, main)
        self.output_size = self.encoders.output_size
        self.stride, self.offset = self.embed.stride, self.embed.offset
        for block in self.encoders.blocks:
            if isinstance(block, Conv1d) and not block.causal:
                self.offset += self.stride * (block.padding + 1 - block.stride)
                self.stride *= block.stride
        self.least_frames = max(self.stride + self.offset, self.embed.least_frames)
        self.legacy = main.legacy_positions
        self.most_frames = None
        if self.legacy:
            if any(conf["block_type"] == "conv1d" for _, conf in body):
                raise ValueError("a conv1d block has no legacy positions.")
            self.most_frames = self.offset + (LEGACY_FRAMES + 1) * self.stride - 1

    def forward(self, x: Tensor, x_len: Tensor) -> tuple[Tensor, Tensor]:
        """Encode whole utterances; each as if it were alone in the batch.

        (ESPnet counts the frames of the shorter ones wrongly and so lets padding in, and it counts
        what conv1d blocks leave out.)

        Args:
            x: (B, F, M).
            x_len: (B,) int64, how many of the F frames each utterance has.

        Returns:
            (B, T, D), and (B,) int64: how many of the T frames each utterance has.

        Raises:
            ValueError: F is too small for one encoder frame, or too large for legacy positions.
        """
        if x.size(1) < self.least_frames:
            raise ValueError(f"x must have at least {self.least_frames} frames, got {x.size(1)}.")
        if self.most_frames is not None and x.size(1) > self.most_frames:
            raise ValueError(
                f"x must have at most {self.most_frames} frames, got {x.size(1)}: the legacy "
                f"positions are {LEGACY_FRAMES} encoder frames."
            )
        x = self.embed(x, x_len)
        lengths = (x_len - self.embed.offset) // self.embed.stride
        padding = torch.arange(x.size(1), device=x.device) >= lengths.unsqueeze(1)
        if self.legacy:
            positions = legacy_positions(x.size(1), x.size(2), x)
        else:
            positions = relative_positions(x.size(1), 0, x.size(2), x)
        x, padding = self.encoders(x, positions, padding)
        return x, (~padding).sum(1)


class _Blocks(nn.Module):
    """The body; `blocks` and `norm_blocks` are ESPnet's names."""

    def __init__(
        self, body: list[tuple[str, Mapping[str, Any]]], size: int, main: MainOptions
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()
        for where, conf in body:
            block, size = _make_block(conf, where, size, main)
            self.blocks.append(block)
        self.output_size = size
        self.norm_blocks = main.after_norm(size)

    def forward(self, x: Tensor, positions: Tensor, padding: Tensor) -> tuple[Tensor, Tensor]:
        for block in self.blocks:
            if isinstance(block, Conv1d):
                x, positions, padding = block(x, positions, padding)
            else:
                x = block(x, positions, padding)
        return self.norm_blocks(x), padding


def _unroll(body_conf: Sequence[Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    """Repeat each entry num_blocks times; with each goes how to name it in errors."""
    body = []
    for index, conf in enumerate(body_conf):
        where = f"body_conf[{index}]"
        if conf.get("block_type") not in BLOCK_TYPES:
            raise ValueError(
                f"{where}: block_type must be one of {', '.join(BLOCK_TYPES)}, "
                f"got {conf.get('block_type')!r}."
            )
        repeats = 1 if conf.get("num_blocks") is None else whole(conf, "num_blocks", where)
        body.extend([(where, conf)] * repeats)
    if not body:
        raise ValueError("body_conf must have at least one block, got none.")
    return body


def _make_block(
    conf: Mapping[str, Any], where: str, size: int, main: MainOptions
) -> tuple[nn.Module, int]:
    """Make a block for frames of `size` features, and say how many it gives."""
    if conf["block_type"] == "conv1d":
        conv = Conv1d(conf, where, size, main.causal)
        return conv, conv.output_size
    options = read_block(conf, where, main)
    if options.hidden_size != size:
        raise ValueError(
            f"{where}: hidden_size must be {size}, what the block before gives, "
            f"got {options.hidden_size}."
        )
    match conf["block_type"]:
        case "conformer":
            return Conformer(options, conf.get("conv_mod_norm_eps", 1e-5)), size
        case "branchformer":
            return Branchformer(options), size
        case _:
            return EBranchformer(options), size


def build_encoder(config: Mapping[str, Any]) -> Encoder:
    """Build the encoder of an experiment, with random weights.

    Args:
        config: the experiment's config.yaml; `encoder_conf` is read, and the number of features:
            `input_size`, or else `n_mels` of `frontend_conf` (80).

    Raises:
        TypeError: an option is of the wrong type.
        ValueError: `encoder_conf` lacks body_conf or has an unknown part, or an option is missing,
            unknown or out of its range.
    """
    conf = config.get("encoder_conf") or {}
    unknown = sorted(set(conf) - {"main_conf", "input_conf", "body_conf"})
    if unknown or not conf.get("body_conf"):
        raise ValueError(
            "encoder_conf must be body_conf with blocks and, where wanted, main_conf and "
            f"input_conf, got {', '.join(sorted(conf)) or 'nothing'}."
        )
    size = config.get("input_size")
    frontend = config.get("frontend_conf") or {}
    return Encoder(whole(frontend, "n_mels", "frontend_conf", 80) if size is None else size, **conf)
