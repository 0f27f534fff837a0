"""The encoder's blocks, chunk by chunk. Each is a snapshot of what the block has now.

Legend of the shapes: T encoder frames of a chunk, C and D input and output size.
"""

from typing import cast

import torch
from torch import Tensor, nn

from deploy_bias.export.steps.attention import AttentionStep, constant_linear, scaled
from deploy_bias.export.steps.chunk import Chunk, WindowShape
from deploy_bias.export.steps.convolution import ConvolutionStep
from deploy_bias.export.steps.normalization import step_normalization
from deploy_bias.model.encoder.attention import RelPositionMultiHeadedAttention
from deploy_bias.model.encoder.branchformer import Branchformer
from deploy_bias.model.encoder.conformer import Conformer
from deploy_bias.model.encoder.conv1d import Conv1d
from deploy_bias.model.encoder.convolution import (
    ConformerConvolution,
    ConvolutionalSpatialGatingUnit,
)
from deploy_bias.model.encoder.ebranchformer import EBranchformer
from deploy_bias.model.encoder.feed_forward import PositionwiseFeedForward


class BlockStep(nn.Module):
    """(T, C) and the chunk to (T, D); with the step of its attention, if it has one."""

    def windows(self) -> list[WindowShape]:
        """Return the windows, in the order in which `forward` asks for them."""
        return [
            shape
            for module in self.modules()
            if isinstance(module, AttentionStep | ConvolutionStep)
            for shape in module.windows()
        ]


class ConformerStep(BlockStep):
    """A conformer; see `BlockStep`."""

    def __init__(self, block: Conformer, attention: nn.Module) -> None:
        super().__init__()
        self.macaron = _HalfFeedForward(block.norm_macaron, block.feed_forward_macaron)
        self.norm_self_att = step_normalization(block.norm_self_att)
        self.self_att = attention
        self.norm_conv = step_normalization(block.norm_conv)
        self.conv_mod = _GatedConvolution(block.conv_mod)
        self.feed_forward = _HalfFeedForward(block.norm_feed_forward, block.feed_forward)
        self.norm_final = step_normalization(block.norm_final)

    def forward(self, x: Tensor, chunk: Chunk) -> Tensor:
        """(T, D) to (T, D)."""
        x = self.macaron(x)
        x = x + self.self_att(self.norm_self_att(x), chunk)
        x = x + self.conv_mod(self.norm_conv(x), chunk)
        out: Tensor = self.norm_final(self.feed_forward(x))
        return out


class BranchformerStep(BlockStep):
    """A branchformer; see `BlockStep`."""

    def __init__(self, block: Branchformer, attention: nn.Module) -> None:
        super().__init__()
        self.norm_self_att = step_normalization(block.norm_self_att)
        self.self_att = attention
        self.norm_mlp = step_normalization(block.norm_mlp)
        self.mlp = _SpatialGating(block.channel_proj1, block.conv_mod, block.channel_proj2)
        self.merge_proj = block.merge_proj
        self.norm_final = step_normalization(block.norm_final)

    def forward(self, x: Tensor, chunk: Chunk) -> Tensor:
        """(T, D) to (T, D)."""
        attended = self.self_att(self.norm_self_att(x), chunk)
        both = torch.cat([attended, self.mlp(self.norm_mlp(x), chunk)], dim=-1)
        out: Tensor = self.norm_final(x + self.merge_proj(both))
        return out


class EBranchformerStep(BlockStep):
    """An e-branchformer; see `BlockStep`."""

    def __init__(self, block: EBranchformer, attention: nn.Module) -> None:
        super().__init__()
        self.macaron = _HalfFeedForward(block.norm_feed_forward_macaron, block.feed_forward_macaron)
        self.norm_self_att = step_normalization(block.norm_self_att)
        self.self_att = attention
        self.norm_mlp = step_normalization(block.norm_mlp)
        self.mlp = _SpatialGating(block.channel_proj1, block.conv_mod, block.channel_proj2)
        merge = block.depthwise_conv_mod
        self.merge_conv = ConvolutionStep("merge", merge.conv, merge.causal, residual=True)
        self.merge_proj = block.merge_proj
        self.feed_forward = _HalfFeedForward(block.norm_feed_forward, block.feed_forward)
        self.norm_final = step_normalization(block.norm_final)

    def forward(self, x: Tensor, chunk: Chunk) -> Tensor:
        """(T, D) to (T, D)."""
        x = self.macaron(x)
        attended = self.self_att(self.norm_self_att(x), chunk)
        both = torch.cat([attended, self.mlp(self.norm_mlp(x), chunk)], dim=-1)
        x = x + self.merge_proj(self.merge_conv(both, chunk))
        out: Tensor = self.norm_final(self.feed_forward(x))
        return out


class Conv1dStep(BlockStep):
    """A causal conv1d; see `BlockStep`."""

    def __init__(self, block: Conv1d) -> None:
        super().__init__()
        norm = block.bn if block.batch_norm else None
        self.conv = ConvolutionStep("conv", block.conv, causal=True, norm=norm)
        self.relu = block.relu

    def forward(self, x: Tensor, chunk: Chunk) -> Tensor:
        """(T, C) to (T, D)."""
        x = self.conv(x, chunk)
        return nn.functional.relu(x) if self.relu else x


def attention_of(block: nn.Module) -> RelPositionMultiHeadedAttention:
    """Return the attention of a conformer, branchformer or e-branchformer."""
    return cast("Conformer | Branchformer | EBranchformer", block).self_att


def xformer_step(block: nn.Module, attention: nn.Module) -> BlockStep:
    """Return the step of a block that has attention.

    Args:
        block: a conformer, branchformer or e-branchformer.
        attention: the step of `block.self_att`.
    """
    if isinstance(block, Conformer):
        return ConformerStep(block, attention)
    if isinstance(block, Branchformer):
        return BranchformerStep(block, attention)
    return EBranchformerStep(cast("EBranchformer", block), attention)


class _HalfFeedForward(nn.Module):
    """x plus half of a feed-forward of x, normalised before."""

    def __init__(self, norm: nn.Module, feed_forward: PositionwiseFeedForward) -> None:
        super().__init__()
        self.norm = step_normalization(norm)
        self.w_1 = feed_forward.w_1
        self.w_2 = scaled(feed_forward.w_2, 0.5)
        self.activation = feed_forward.activation

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.w_2(self.activation(self.w_1(self.norm(x))))
        return out


class _GatedConvolution(nn.Module):
    """The conformer's convolution. Linear layers for its pointwise convolutions: no transposes."""

    def __init__(self, conv_mod: ConformerConvolution) -> None:
        super().__init__()
        self.kept, self.gate = _halves(conv_mod.pointwise_conv1)
        self.conv = ConvolutionStep(
            "conv", conv_mod.depthwise_conv, conv_mod.causal, norm=conv_mod.norm
        )
        self.activation = conv_mod.activation
        self.out = _as_linear(conv_mod.pointwise_conv2)

    def forward(self, x: Tensor, chunk: Chunk) -> Tensor:
        x = self.kept(x) * torch.sigmoid(self.gate(x))
        out: Tensor = self.out(self.activation(self.conv(x, chunk)))
        return out


class _SpatialGating(nn.Module):
    """The multilayer perceptron of a branchformer, gated by a convolution."""

    def __init__(
        self, up: nn.Sequential, conv_mod: ConvolutionalSpatialGatingUnit, down: nn.Linear
    ) -> None:
        super().__init__()
        self.kept, self.gate = _halves(cast("nn.Linear", up[0]))
        self.norm = step_normalization(conv_mod.norm)
        self.conv = ConvolutionStep("conv", conv_mod.conv, conv_mod.causal)
        self.down = down

    def forward(self, x: Tensor, chunk: Chunk) -> Tensor:
        gate = self.conv(self.norm(nn.functional.gelu(self.gate(x))), chunk)
        out: Tensor = self.down(nn.functional.gelu(self.kept(x)) * gate)
        return out


def _halves(linear: nn.Linear | nn.Conv1d) -> tuple[nn.Linear, nn.Linear]:
    """Return two linear layers, for a split between delegates would cut the graph."""
    assert linear.bias is not None
    weights, biases = linear.weight.flatten(1).chunk(2), linear.bias.chunk(2)
    return constant_linear(weights[0], biases[0]), constant_linear(weights[1], biases[1])


def _as_linear(conv: nn.Conv1d) -> nn.Linear:
    """Return the linear layer that a convolution with a kernel of 1 is."""
    assert conv.bias is not None
    return constant_linear(conv.weight.flatten(1), conv.bias)
