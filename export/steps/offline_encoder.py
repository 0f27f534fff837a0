"""A whole utterance as a graph of a dynamic length: features in, encoder frames out.

The length is one of BLOCK, 2 BLOCK, ... encoder frames. What stands behind the genuine features
is never seen: it is masked in the convolutions and the attention, so frames are those of the
utterance alone. So every size in the graph is a multiple of one dynamic number, and torch.export,
ONNX and ExecuTorch can tell that they fit.

Legend of the shapes: F feature frames, M n_mels, N blocks, T encoder frames (N BLOCK), C channels,
D output_size.
"""

import copy
import math

import torch
from torch import Tensor, nn

from deploy_bias.export.steps.encoder_blocks import BlockStep, attention_of, xformer_step
from deploy_bias.export.steps.normalization import step_normalization
from deploy_bias.export.steps.offline_attention import OfflineAttention
from deploy_bias.export.steps.utterance import (
    Utterance,
    encodings,
    legacy_offsets,
    thinned_offsets,
)
from deploy_bias.model.encoder.conv1d import Conv1d
from deploy_bias.model.encoder.conv_input import ConvInput
from deploy_bias.model.encoder.encoder import Encoder

BLOCK = 32
"""Encoder frames whose scores are in memory at once."""


class OfflineEncoderStep(nn.Module):
    """What `Encoder.forward` computes of one utterance; made from an encoder's weights.

    It is a snapshot, in eval mode, and its weights need no gradient.

    Args:
        encoder: what to encode with.

    Attributes:
        block: the frames that an utterance grows by, where the blocks begin; `frames` behind them.
        feature_frames: F grows by as many, from `least_frames` on.
    """

    frequencies: Tensor

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        encoder = copy.deepcopy(encoder).eval().requires_grad_(False)
        self.legacy = encoder.legacy
        self.embed = OfflineInput(encoder.embed)
        self.stride, self.offset = encoder.embed.stride, encoder.embed.offset
        thinning = math.prod(block.stride for block in _convolutions(encoder))
        # A whole number of frames is left of a block behind every convolution.
        self.block = thinning * math.ceil(BLOCK / thinning)
        self.frames = self.block // thinning
        self.feature_frames = self.block * self.stride
        self.least_frames = self.feature_frames + self.offset
        self.blocks = nn.ModuleList(
            OfflineConv1d(block)
            if isinstance(block, Conv1d)
            else xformer_step(block, OfflineAttention(attention_of(block), encoder.legacy))
            for block in encoder.encoders.blocks
        )
        self.windows = [
            (shape.rows, shape.channels)
            for block in self.blocks
            if isinstance(block, BlockStep)
            for shape in block.windows()
        ]
        self.norm_blocks = step_normalization(encoder.encoders.norm_blocks)
        size = encoder.embed.output_size
        pairs = torch.arange(0, size, 2, dtype=torch.float32)
        self.register_buffer("frequencies", torch.exp(pairs * -(math.log(10000.0) / size)))
        self.requires_grad_(False)
        self.eval()

    def encoder_frames(self, feature_frames: int) -> int:
        """Return T of F, of which (frames - offset) // stride of the encoder are genuine."""
        return (feature_frames - self.offset) // self.feature_frames * self.frames

    def forward(self, features: Tensor, frames: Tensor) -> Tensor:
        """Encode an utterance.

        Args:
            features: (1, F, M). What comes after the genuine frames may be anything finite.
            frames: (1,) int64, up to F: how many are genuine.

        Returns:
            (1, T, D). The first (frames - offset) // stride, of the encoder, are genuine.
        """
        count = (features.size(1) - self.offset) // self.feature_frames
        x = self.embed(features, frames, count * self.block)
        needed = torch.arange(1, count * self.block + 1) * self.stride + self.offset
        within = (needed <= frames).to(features.dtype).unsqueeze(1)
        # Of causal convolutions: what there is before the first frame.
        windows = iter([x.new_zeros(1, rows, channels) for rows, channels in self.windows])
        block, scale, shift = self.block, 1, x.new_zeros(())
        positions = self._positions(within, scale, shift)
        projections: list[nn.Module] = []
        utterance = Utterance(within, block, positions, windows)
        for step in self.blocks:
            x = step(x, utterance)
            if not isinstance(step, OfflineConv1d):
                continue
            projections.append(step.out_pos)
            if step.thins:
                thinned = step.thin(within)
                shift = shift + scale * (within.sum() - 1 - step.stride * (thinned.sum() - 1))
                within, block, scale = thinned, block // step.stride, scale * step.stride
            positions = self._positions(within, scale, shift)
            for project in projections:
                positions = project(positions)
            utterance = Utterance(within, block, positions, windows)
        out: Tensor = self.norm_blocks(x).unsqueeze(0)
        return out

    def _positions(self, within: Tensor, scale: int, shift: Tensor) -> Tensor:
        if self.legacy:
            offsets = legacy_offsets(within.size(0), within.sum())
        else:
            offsets = thinned_offsets(within.size(0), scale, shift)
        return encodings(offsets, self.frequencies)


class OfflineConv1d(nn.Module):
    """A conv1d block on the frames of an utterance.

    Args:
        block: the eager block. One that is not causal takes frames away.
    """

    def __init__(self, block: Conv1d) -> None:
        super().__init__()
        self.block = block
        self.stride, self.thins, self.out_pos = block.stride, not block.causal, block.out_pos

    def forward(self, x: Tensor, utterance: Utterance) -> Tensor:
        """(T, C) to (T / stride, D)."""
        padding = self.block.padding
        x = x.t().unsqueeze(0)
        x = nn.functional.pad(x, (0, padding) if self.thins else (padding, 0))
        x = self.block.conv(x)
        if self.block.batch_norm:
            x = self.block.bn(x)
        if self.block.relu:
            x = nn.functional.relu(x)
        return x.squeeze(0).t()

    def thin(self, within: Tensor) -> Tensor:
        """Return what is genuine of the output, (T / stride, 1) for (T, 1)."""
        padding, size = self.block.padding, within.size(0)
        last = nn.functional.pad(within, (0, 0, 0, padding)).narrow(0, padding, size)
        return last.view(-1, self.stride).narrow(1, 0, 1)


class OfflineInput(nn.Module):
    """The input block on an utterance; rubbish behind its frames reaches none of them.

    Args:
        embed: the eager block.
    """

    def __init__(self, embed: ConvInput) -> None:
        super().__init__()
        self.conv, self.output, self.vgg_like = embed.conv, embed.output, embed.vgg_like
        if embed.vgg_like:
            self.pool = embed.pool

    def forward(self, features: Tensor, frames: Tensor, count: int) -> Tensor:
        """(1, F, M), (1,) and T to (T, D)."""
        x = features.unsqueeze(1)
        if self.vgg_like:
            # After a ReLU zeros change no maximum. XNNPACK has no ceil_mode of a dynamic length.
            x = self.conv[:4](x * genuine_rows(x, 1, 0, frames))
            x = pooled(x * genuine_rows(x, 1, 2, frames), self.pool)
            # Of three frames a maximum more would see the last genuine one.
            x = self.conv[5:9](x * genuine_rows(x, 2, self.pool - 1, frames))
            x = pooled(x * genuine_rows(x, 2, self.pool + 3, frames), 2)
        else:
            x = self.conv(x)
        x = x.narrow(2, 0, count).squeeze(0).transpose(0, 1).flatten(1)
        return x if self.output is None else self.output(x)


def genuine_rows(x: Tensor, stride: int, offset: int, frames: Tensor) -> Tensor:
    """Return (rows, 1), 1 for the rows of (1, C, rows, M) that are wholly of genuine frames."""
    needed = torch.arange(1, x.size(2) + 1) * stride + offset
    return (needed <= frames).to(x.dtype).unsqueeze(1)


def pooled(x: Tensor, size: int) -> Tensor:
    """Return the maxima of size x size, two apart, the last of what is left."""
    return nn.functional.max_pool2d(nn.functional.pad(x, (0, 1, 0, 1)), size, stride=2)


def _convolutions(encoder: Encoder) -> list[Conv1d]:
    return [block for block in encoder.encoders.blocks if isinstance(block, Conv1d)]
