"""Convolutions along time, chunk by chunk.

A causal one reads its input's last frames from a window. Another one is, in ESPnet, cut off at the
borders of the chunk: it sees zeros around it, also where the frames before it are known.

Legend of the shapes: T encoder frames of a chunk, C channels, D output channels.
"""

import torch
from torch import Tensor, nn

from deploy_bias.encoder.chunk import Chunk, WindowShape


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
        around = conv.kernel_size[0] - 1
        self.name = name
        self.context = around if causal else 0
        self.causal = causal
        weight = conv.weight.detach().clone()
        bias = weight.new_zeros(len(weight)) if conv.bias is None else conv.bias.detach().clone()
        if residual:
            weight[..., around if causal else around // 2] += 1.0
        if norm is not None:
            assert norm.running_mean is not None
            assert norm.running_var is not None
            scale = norm.weight.detach() / torch.sqrt(norm.running_var + norm.eps)
            weight = weight * scale[:, None, None]
            bias = (bias - norm.running_mean) * scale + norm.bias.detach()
        self.conv = nn.Conv1d(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size[0],
            padding=0 if causal else around // 2,
            groups=conv.groups,
            device="meta",
        )
        self.conv.weight, self.conv.bias = nn.Parameter(weight), nn.Parameter(bias)

    def windows(self) -> list[WindowShape]:
        """Return the window of the input's last frames, if it needs one."""
        if self.context == 0:
            return []
        return [WindowShape(self.name, self.context, self.conv.in_channels)]

    def forward(self, x: Tensor, chunk: Chunk) -> Tensor:
        """(1, T, C) to (1, T, D)."""
        if not self.causal:
            x = x * chunk.within
        elif self.context > 0:
            x = chunk.extend(x)
        out: Tensor = self.conv(x.transpose(1, 2)).transpose(1, 2)
        return out
