"""Convolutions along time, chunk by chunk.

A causal one reads its input's last frames from a window. Another one is, in ESPnet, cut off at the
borders of the chunk: it sees zeros around it, also where the frames before it are known.

Two-dimensional with a height of 1, and of at most 25 frames each: the depthwise convolution of 512
channels and 31 frames over a chunk of 20 takes ONNX Runtime 128 us as conv1d, 12 as conv2d, 20 as
two of them; and XNNPACK, whose depthwise kernels end at 25 frames, 126, 119 and 39.

Legend of the shapes: T encoder frames of a chunk, C channels, D output channels.
"""

import functools

import torch
from torch import Tensor, nn

from deploy_bias.export.steps.chunk import Chunk, WindowShape

MOST_TAPS = 25


class ConvolutionStep(nn.Module):
    """What `conv` has now, for the frames of a chunk.

    Args:
        name: its window's.
        conv: a convolution of stride and dilation 1.
        causal: whether it reads earlier frames alone.
        norm: a batch normalisation after it, folded into its weights.
        residual: whether its input is added to its output; folded into its weights, too.
    """

    def __init__(
        self,
        name: str,
        conv: nn.Conv1d,
        causal: bool,
        norm: nn.BatchNorm1d | None = None,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.name = name
        self.around = conv.kernel_size[0] - 1
        self.causal = causal
        self.channels = conv.in_channels
        weight = conv.weight.detach().clone()
        bias = weight.new_zeros(len(weight)) if conv.bias is None else conv.bias.detach().clone()
        if residual:
            weight[..., self.around if causal else self.around // 2] += 1.0
        if norm is not None:
            assert norm.running_mean is not None
            assert norm.running_var is not None
            scale = norm.weight.detach() / torch.sqrt(norm.running_var + norm.eps)
            weight = weight * scale[:, None, None]
            bias = (bias - norm.running_mean) * scale + norm.bias.detach()
        weights = weight.split(MOST_TAPS, dim=-1)
        self.taps = [part.size(-1) for part in weights]
        self.parts = nn.ModuleList(
            _constant_conv(part, bias if index == 0 else None, conv.groups)
            for index, part in enumerate(weights)
        )

    def windows(self) -> list[WindowShape]:
        """Return the window of the input's last frames, if it needs one."""
        if not self.causal or self.around == 0:
            return []
        return [WindowShape(self.name, self.around, self.channels)]

    def forward(self, x: Tensor, chunk: Chunk) -> Tensor:
        """(T, C) to (T, D)."""
        frames = x.size(0)
        if not self.causal:
            x = nn.functional.pad(x * chunk.within, (0, 0, self.around // 2, self.around // 2))
        elif self.around > 0:
            x = chunk.extend(x)
        x = x.view(1, 1, -1, self.channels).permute(0, 3, 1, 2)
        outputs: list[Tensor] = []
        start = 0
        for part, taps in zip(self.parts, self.taps, strict=True):
            outputs.append(part(x.narrow(3, start, frames + taps - 1)))
            start += taps
        out = functools.reduce(torch.add, outputs)
        return out.permute(0, 2, 3, 1).view(frames, -1)


def _constant_conv(weight: Tensor, bias: Tensor | None, groups: int) -> nn.Conv2d:
    """Return a convolution of rows that holds copies of (D, C / groups, taps) and (D,)."""
    out, inputs, taps = weight.shape
    conv = nn.Conv2d(
        inputs * groups, out, (1, taps), groups=groups, bias=bias is not None, device="meta"
    )
    conv.weight = nn.Parameter(weight.unsqueeze(2).clone())
    if bias is not None:
        conv.bias = nn.Parameter(bias.clone())
    return conv
