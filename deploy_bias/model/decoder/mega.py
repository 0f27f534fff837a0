"""The MEGA block: single-head gated attention whose queries and keys come from a moving average.

Legend of the shapes: L length, B batch, D size, K qk_size, V v_size, N chunks, C length of a
chunk (L itself without chunks).
Source: `espnet2.asr_transducer.decoder.blocks.mega`; MEGA is arXiv:2209.10655.
"""

import torch
from torch import Tensor, nn

from deploy_bias.model.bias.positional_bias import RelativePositionBias, RotaryRelativePositionBias
from deploy_bias.model.decoder.damped_ema import MultiHeadDampedEMA


class MEGA(nn.Module):
    """Moving average equipped gated attention, normalised afterwards.

    Args:
        size: D.
        num_heads: the moving averages of each feature.
        qk_size: K.
        v_size: V.
        activation: an elementwise module, ReLU unless given.
        normalization: a module, (..., D) to (..., D); LayerNorm(size) unless given.
        rel_pos_bias_type: "simple" or "rotary".
        max_positions: the keys that a query can attend to, itself included.
        truncation_length: how many inputs the moving average is over (None: all).
        chunk_size: attention within chunks of so many labels, and in the place of
            max_positions; no chunks when it is 0 or less.
        dropout_rate: of the values and of the output, in training.
        att_dropout_rate: of the attention weights, in training.
        ema_dropout_rate: of the moving average, in training.

    Raises:
        ValueError: `rel_pos_bias_type` is neither, or a size is out of its range.
    """

    rel_pos_bias: RelativePositionBias | RotaryRelativePositionBias

    def __init__(
        self,
        size: int = 512,
        num_heads: int = 4,
        qk_size: int = 128,
        v_size: int = 1024,
        activation: nn.Module | None = None,
        normalization: nn.Module | None = None,
        rel_pos_bias_type: str = "simple",
        max_positions: int = 2048,
        truncation_length: int | None = None,
        chunk_size: int = -1,
        dropout_rate: float = 0.0,
        att_dropout_rate: float = 0.0,
        ema_dropout_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.size = size
        self.qk_size = qk_size
        self.v_size = v_size
        self.chunk_size = chunk_size
        self.activation = nn.ReLU() if activation is None else activation
        self.normalization = nn.LayerNorm(size) if normalization is None else normalization
        self.multihead_damped_ema = MultiHeadDampedEMA(
            size, num_heads, self.activation, truncation_length
        )
        positions = chunk_size if chunk_size > 0 else max_positions
        if rel_pos_bias_type == "rotary":
            self.rel_pos_bias = RotaryRelativePositionBias(qk_size, positions)
        elif rel_pos_bias_type == "simple":
            self.rel_pos_bias = RelativePositionBias(positions)
        else:
            raise ValueError(
                f"rel_pos_bias_type must be 'simple' or 'rotary', got {rel_pos_bias_type!r}."
            )
        self.proj_v = nn.Linear(size, v_size)
        self.proj_mx = nn.Linear(size, qk_size + v_size + 2 * size)
        self.proj_h = nn.Linear(v_size, size)
        self.qk_weight = nn.Parameter(torch.empty(2, qk_size))
        self.qk_bias = nn.Parameter(torch.empty(2, qk_size))
        self.dropout = nn.Dropout(dropout_rate)
        self.dropout_attn = nn.Dropout(att_dropout_rate)
        self.dropout_ema = nn.Dropout(ema_dropout_rate)
        self.reset_parameters()

    def reset_parameters(self, val: float = 0.0, std: float = 0.02) -> None:
        """Draw the weights from normal(val, std), and set the biases to val."""
        for linear in (self.proj_v, self.proj_mx, self.proj_h):
            nn.init.normal_(linear.weight, val, std)
            nn.init.constant_(linear.bias, val)
        nn.init.normal_(self.qk_weight, val, std)
        nn.init.constant_(self.qk_bias, val)

    def mix_sizes(self) -> list[int]:
        """Return the widths of what proj_mx gives: residual weight, qk, gate, intermediate."""
        return [self.size, self.qk_size, self.v_size, self.size]

    def forward(
        self, x: Tensor, mask: Tensor | None = None, attn_mask: Tensor | None = None
    ) -> Tensor:
        """Compute whole sequences.

        Args:
            x: (L, B, D); L is a multiple of chunk_size, or less than it.
            mask: (B, 1, L) bool, True where an input is padding.
            attn_mask: (1, C, C) bool, True where a query (row) must not see a key (column).

        Returns:
            (L, B, D).

        Raises:
            ValueError: L is more than max_positions, without chunks.
        """
        length, batch, _ = x.shape
        value = self.activation(self.proj_v(x))
        average = self.dropout_ema(self.multihead_damped_ema(x, mask))
        residual_weight, qk, gate, intermediate = self.proj_mx(average).split(
            self.mix_sizes(), dim=-1
        )
        qk = self.activation(qk)
        query = qk * self.qk_weight[0] + self.qk_bias[0]
        key = qk * self.qk_weight[1] + self.qk_bias[1]

        chunk = self.chunk_size if 0 < self.chunk_size < length else length
        chunks = (batch, length // chunk, chunk, -1)
        query, key, value = (part.transpose(0, 1).reshape(chunks) for part in (query, key, value))
        if mask is not None:
            mask = mask.reshape(batch, length // chunk, chunk)
        weights = self.attention_weights(query, key, mask, attn_mask)
        value = self.dropout(value)
        attended = torch.matmul(self.dropout_attn(weights), value)
        attended = attended.reshape(batch, length, self.v_size).transpose(0, 1)

        hidden = self.activation(intermediate + self.proj_h(attended * self.activation(gate)))
        update = self.dropout(hidden) - x
        out: Tensor = self.normalization(x + torch.sigmoid(residual_weight) * update)
        return out

    def attention_weights(
        self, query: Tensor, key: Tensor, mask: Tensor | None, attn_mask: Tensor | None
    ) -> Tensor:
        """Return the share of each key in each query's output.

        Args:
            query: (B, N, C, K).
            key: (B, N, C, K).
            mask: (B, N, C) bool, True at padding; ignored in a chunk that is all padding.
            attn_mask: (1, C, C) bool, True at what must not be seen.

        Returns:
            (B, N, C, C), in the dtype of `query`. A query that sees padding alone shares its
            weights among that, where ESPnet gives NaN.
        """
        scores = torch.matmul(query * self.qk_size**-0.5, key.transpose(2, 3))
        scores = scores + self.rel_pos_bias(key.size(2))
        if mask is not None:
            mask = mask & ~mask.all(dim=-1, keepdim=True)
            # Finite, unlike the causal mask below: padding is worth 0 beside anything else.
            scores = scores.masked_fill(mask.unsqueeze(2), torch.finfo(scores.dtype).min)
        if attn_mask is not None:
            scores = scores.masked_fill(attn_mask.unsqueeze(1), float("-inf"))
        wide = torch.promote_types(scores.dtype, torch.float32)
        return torch.softmax(scores, dim=-1, dtype=wide).to(scores.dtype)
