"""Normalisations as a good kernel of float32 takes them: the mean first, then the squares about it.

A variance as E[x^2] - E[x]^2 is none: it cancels where a row is far from zero and narrow. Of rows
of 1000 ± 1 ExecuTorch 1.4's layer norm, which does that, is off by 0.24, and eager by 4e-5.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from deploy_bias.export.numerics.summation import UNIT


class Norms:
    """Layer, group and batch norms of float64 tensors.

    Args:
        between: makes what is random in them, see `deploy_bias.export.numerics.summation`.
    """

    def __init__(self, between: Callable[[Sequence[int]], Tensor]) -> None:
        self.between = between
        self.unit = UNIT

    def run(self, name: str, args: tuple[Any, ...]) -> tuple[Tensor, Tensor, Tensor]:
        """Return what the operator of a name gives: the output, the mean and the root."""
        x, eps = args[0], args[-1]
        channels: tuple[int, ...] = (-1, *[1] * (x.ndim - 2))
        if name == "native_layer_norm":
            _, shape, weight, bias, _ = args
            normal, mean, root = self._normalized(x, tuple(range(-len(shape), 0)), eps)
            channels = tuple(shape)
        elif name == "native_group_norm":
            _, weight, bias, batch, _, _, groups, _ = args
            normal, mean, root = self._normalized(x.reshape(batch, groups, -1), (-1,), eps)
            normal, mean, root = normal.reshape(x.shape), mean.squeeze(-1), root.squeeze(-1)
        else:
            _, weight, bias, mean, variance, training, _, _ = args
            if training:
                normal, mean, root = self._normalized(x, (0, *range(2, x.ndim)), eps)
                mean, root = mean.flatten(), root.flatten()
            else:
                root = torch.rsqrt(variance + eps)
                # With constants for both, kernels take x * a + b: so does eager.
                shift = mean.view(channels) * root.view(channels)
                normal = (x - mean.view(channels)) * root.view(channels)
                normal = normal + self.unit * shift * self.between(normal.shape)
        weight, bias = (None if t is None else t.reshape(channels) for t in (weight, bias))
        normal = normal if weight is None else normal * weight
        return (normal if bias is None else self._plus(normal, bias)), mean, root

    def _plus(self, normal: Tensor, bias: Tensor) -> Tensor:
        return normal + bias + self.unit * normal * self.between(normal.shape)

    def _normalized(
        self, x: Tensor, dims: tuple[int, ...], eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        mean = x.mean(dims, keepdim=True)
        variance = (x - mean).square().mean(dims, keepdim=True)
        # The sums of n numbers round as a random walk, see `Rounding`.
        unit = self.unit * (1 + (x.numel() / max(1, mean.numel())) ** 0.5 / 4)
        mean = mean + unit * x.abs().mean(dims, keepdim=True) * self.between(mean.shape)
        root = torch.rsqrt(variance * (1 + unit * self.between(mean.shape)) + eps)
        return (x - mean) * root, mean, root
