"""What a graph must compute: eager float32, and float64 by another way.

The float64 reference is written from the definition and shares no code with the module, so a
mistake in the module cannot hide in both.
"""

import torch
from torch import Tensor

from deploy_bias.positional_bias import RelativePositionBias
from export.checkpoint import Bias


def eager_float32(bias: Bias, scores: Tensor) -> Tensor:
    """scores + the eager module's window; (B, Q, K) float32."""
    with torch.inference_mode():
        return scores + bias.window(scores.shape[1], scores.shape[2])


def exact_float64(bias: Bias, scores: Tensor) -> Tensor:
    """scores + the bias by its definition; (B, Q, K) float64."""
    queries, keys = scores.shape[1], scores.shape[2]
    key = torch.arange(keys)
    query = key[keys - queries :]
    with torch.inference_mode():
        if isinstance(bias, RelativePositionBias):
            offset = key[None, :] - query[:, None]
            values = bias.relative_position_bias.double()
            return scores.double() + values[bias.max_positions - 1 + offset]
        alpha, beta = bias.alpha.double(), bias.beta.double()
        return scores.double() + _rotate(alpha, query) @ _rotate(beta, key).T


def _rotate(vector: Tensor, position: Tensor) -> Tensor:
    half = vector.shape[-1] // 2
    frequency = torch.exp(-torch.log(torch.tensor(1e4).double()) / half * torch.arange(half))
    angle = position[:, None].double() * frequency
    first, second = vector[:, :half], vector[:, half:]
    return torch.cat(
        [
            first * angle.cos() - second * angle.sin(),
            second * angle.cos() + first * angle.sin(),
        ],
        dim=-1,
    )
