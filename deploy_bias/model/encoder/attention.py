"""Multi-head attention with relative positions.

Legend of the shapes: B batch, T frames, D size, H heads, K features of a head (D / H).
Source: `espnet2.asr_transducer.encoder.modules.attention`; Transformer-XL is arXiv:1901.02860, the
simplified score is that of icefall's pull request 458.
"""

import math

import torch
from torch import Tensor, nn

from deploy_bias.model.encoder.positions import align


class RelPositionMultiHeadedAttention(nn.Module):
    """Attention whose scores are of content and of relative position.

    Args:
        heads: H.
        size: D, a multiple of H.
        simplified: the score of a position is a number for each head, whatever the query.
    """

    def __init__(self, heads: int, size: int, simplified: bool = False) -> None:
        super().__init__()
        self.num_heads = heads
        self.d_k = size // heads
        self.simplified = simplified
        self.linear_q = nn.Linear(size, size)
        self.linear_k = nn.Linear(size, size)
        self.linear_v = nn.Linear(size, size)
        self.linear_out = nn.Linear(size, size)
        if simplified:
            self.linear_pos = nn.Linear(size, heads)
        else:
            self.linear_pos = nn.Linear(size, size, bias=False)
            self.pos_bias_u = nn.Parameter(torch.empty(heads, self.d_k))
            self.pos_bias_v = nn.Parameter(torch.empty(heads, self.d_k))
            nn.init.xavier_uniform_(self.pos_bias_u)
            nn.init.xavier_uniform_(self.pos_bias_v)

    def forward(self, x: Tensor, positions: Tensor, padding: Tensor) -> Tensor:
        """Attend from every frame to every frame.

        Args:
            x: (B, T, D).
            positions: (1, 2 T - 1, D), from the last frame's earliest key to the first's latest;
                or (1, T, D) of `legacy_positions`.
            padding: (B, T) bool, True at frames that are not to be attended to.

        Returns:
            (B, T, D).
        """
        frames = x.size(1)
        query, key, value = (
            linear(x).unflatten(-1, (self.num_heads, self.d_k)).transpose(1, 2)
            for linear in (self.linear_q, self.linear_k, self.linear_v)
        )
        projected = self.linear_pos(positions)
        if self.simplified:
            content = torch.matmul(query, key.transpose(2, 3))
            by_position = projected.transpose(1, 2).unsqueeze(2).expand(-1, -1, frames, -1)
        else:
            projected = projected.unflatten(-1, (self.num_heads, self.d_k)).permute(0, 2, 3, 1)
            content = torch.matmul(query + self.pos_bias_u.unsqueeze(1), key.transpose(2, 3))
            by_position = torch.matmul(query + self.pos_bias_v.unsqueeze(1), projected)
        scores = content + align(nn.functional.pad(by_position, (0, 1)), frames)
        hidden = padding[:, None, None, :]
        scores = (scores / math.sqrt(self.d_k)).masked_fill(hidden, torch.finfo(x.dtype).min)
        attended = torch.matmul(torch.softmax(scores, dim=-1), value)
        out: Tensor = self.linear_out(attended.transpose(1, 2).flatten(2))
        return out
