"""Attention of a chunk to itself and to the window before it.

Legend of the shapes: T encoder frames of a chunk, L left_context, D size, H heads, K features of a
head (D / H), P = 2 T + L - 1 offsets.
"""

import math

import torch
from torch import Tensor, nn

from deploy_bias.export.steps.chunk import Chunk, WindowShape
from deploy_bias.model.encoder.attention import RelPositionMultiHeadedAttention
from deploy_bias.model.encoder.positions import align


class AttentionStep(nn.Module):
    """What the attention has now, with its projected positions and its scaling as constants.

    Args:
        attention: the attention, in eval mode.
        positions: (1, P, D), of T frames with a left context of L.
        left_context: L.
    """

    by_position: Tensor
    bias_u: Tensor
    bias_v: Tensor

    def __init__(
        self, attention: RelPositionMultiHeadedAttention, positions: Tensor, left_context: int
    ) -> None:
        super().__init__()
        heads, features = attention.num_heads, attention.d_k
        scaling = 1.0 / math.sqrt(features)
        frames = (positions.size(1) + 1 - left_context) // 2
        self.heads = (heads, features)
        self.left_context = left_context
        self.simplified = attention.simplified
        self.linear_q = scaled(attention.linear_q, scaling)
        self.linear_k, self.linear_v = attention.linear_k, attention.linear_v
        self.linear_out = attention.linear_out
        # (1, P + 1, ...), with the column that `align` never reads.
        projected = nn.functional.pad(attention.linear_pos(positions), (0, 0, 0, 1)).detach()
        if self.simplified:
            scores = projected.permute(2, 0, 1).expand(-1, frames, -1) * scaling
            by_position = align(scores, left_context + frames)
        else:
            by_position = projected.view(-1, heads, features).permute(1, 2, 0)
            self.register_buffer("bias_u", attention.pos_bias_u.detach().unsqueeze(1) * scaling)
            self.register_buffer("bias_v", attention.pos_bias_v.detach().unsqueeze(1) * scaling)
        # (H, T, L + T) if simplified, else (H, K, P + 1).
        self.register_buffer("by_position", by_position.contiguous())

    def windows(self) -> list[WindowShape]:
        """Return the windows of keys and values."""
        if self.left_context == 0:
            return []
        size = self.linear_k.out_features
        return [WindowShape(name, self.left_context, size) for name in ("key", "value")]

    def forward(self, x: Tensor, chunk: Chunk) -> Tensor:
        """(T, D) to (T, D)."""
        key, value = self.linear_k(x), self.linear_v(x)
        if self.left_context > 0:
            key, value = chunk.extend(key), chunk.extend(value)
        query = self._split(self.linear_q(x)).transpose(0, 1)
        key, value = self._split(key).permute(1, 2, 0), self._split(value).transpose(0, 1)
        if self.simplified:
            scores = torch.bmm(query, key) + (self.by_position + chunk.hidden)
        else:
            by_position = torch.bmm(query + self.bias_v, self.by_position)
            scores = torch.bmm(query + self.bias_u, key)
            scores = scores + align(by_position, key.size(2)) + chunk.hidden
        attended = torch.bmm(torch.softmax(scores, dim=-1), value)
        out: Tensor = self.linear_out(attended.transpose(0, 1).reshape(x.shape))
        return out

    def _split(self, x: Tensor) -> Tensor:
        """(N, D) or (1, N, D) to (N, H, K)."""
        return x.view(-1, *self.heads)


def scaled(linear: nn.Linear, scale: float) -> nn.Linear:
    """Return a linear layer that gives `scale` times what `linear` gives."""
    assert linear.bias is not None
    return constant_linear(linear.weight * scale, linear.bias * scale)


def constant_linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """Return a linear layer that holds copies of (out, in) and (out,)."""
    linear = nn.Linear(weight.size(1), weight.size(0), device="meta")
    linear.weight = nn.Parameter(weight.detach().clone())
    linear.bias = nn.Parameter(bias.detach().clone())
    return linear
