"""Attention of a whole utterance to itself, some queries at a time.

The scores of all queries would be T x T, and T x 2 T by relative position: 120 s of the shipped
model took 2.5 GB. A loop over blocks of BLOCK queries holds those of one block. Its positions are a
slice of the table, so no index is made.

Legend of the shapes: T encoder frames, B BLOCK, N blocks (T / B), D size, H heads, K features of a
head (D / H), P features of a position: K; 2 K legacy; 1 simplified.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch._higher_order_ops import scan

from deploy_bias.export.steps.attention import scaled
from deploy_bias.export.steps.utterance import Utterance, earlier, later
from deploy_bias.model.encoder.attention import RelPositionMultiHeadedAttention
from deploy_bias.model.encoder.positions import align


class OfflineAttention(nn.Module):
    """What the attention has now, for a whole utterance.

    Args:
        attention: the attention, in eval mode.
        legacy: whether the positions are ESPnet's legacy ones.
    """

    bias_u: Tensor
    bias_v: Tensor

    def __init__(self, attention: RelPositionMultiHeadedAttention, legacy: bool) -> None:
        super().__init__()
        scaling = 1.0 / math.sqrt(attention.d_k)
        self.heads = (attention.num_heads, attention.d_k)
        self.legacy = legacy
        self.simplified = attention.simplified
        self.linear_q = scaled(attention.linear_q, scaling)
        self.linear_k, self.linear_v = attention.linear_k, attention.linear_v
        self.linear_out = attention.linear_out
        if self.simplified:
            self.linear_pos = scaled(attention.linear_pos, scaling)
        else:
            self.linear_pos = attention.linear_pos
            self.register_buffer("bias_u", attention.pos_bias_u.detach().flatten() * scaling)
            self.register_buffer("bias_v", attention.pos_bias_v.detach().flatten() * scaling)

    def forward(self, x: Tensor, utterance: Utterance) -> Tensor:
        """(T, D) to (T, D)."""
        query = self.linear_q(x)
        key = self._split(self.linear_k(x)).permute(1, 2, 0)
        value = self._split(self.linear_v(x)).transpose(0, 1)
        if self.simplified:
            by_content, by_position = query, torch.ones_like(query.narrow(1, 0, self.heads[0]))
        else:
            by_content, by_position = query + self.bias_u, query + self.bias_v
        blocks = [self._blocks(by_content, utterance), self._blocks(by_position, utterance)]
        positions = self._positions(utterance)
        if self.legacy:
            # A key that is further ahead is scored by the position query of the frame after.
            after = nn.functional.pad(by_position.narrow(0, 1, x.size(0) - 1), (0, 0, 0, 1))
            blocks[1] = torch.cat([blocks[1], self._blocks(after, utterance)], dim=-1)
        attended = over_blocks(
            attend_block, blocks, [key, value, positions.contiguous(), utterance.hidden]
        )
        out: Tensor = self.linear_out(attended.transpose(1, 2).reshape(x.size(0), -1))
        return out

    def _split(self, x: Tensor) -> Tensor:
        """(T, D) to (T, H, K)."""
        split: Tensor = x.unflatten(-1, self.heads)
        return split

    def _blocks(self, x: Tensor, utterance: Utterance) -> Tensor:
        """(T, H P) to (N, H, B, P)."""
        shape = (utterance.blocks, utterance.block, self.heads[0], -1)
        return x.view(shape).transpose(1, 2)

    def _positions(self, utterance: Utterance) -> Tensor:
        """Return the table (H, P, 2 T), projected."""
        projected = self.linear_pos(utterance.positions)
        table: Tensor = projected.unflatten(-1, (self.heads[0], -1)).permute(1, 2, 0)
        if not self.legacy:
            return table
        size = utterance.within.size(0)
        halves = [table * earlier(size), table * later(size)]
        return torch.cat(halves, dim=1)


def attend_block(
    number: Tensor,
    by_content: Tensor,
    by_position: Tensor,
    key: Tensor,
    value: Tensor,
    positions: Tensor,
    hidden: Tensor,
) -> Tensor:
    """Attend from one block of queries.

    Args:
        number: int64 (), of the block from the last one.
        by_content: (H, B, K) queries.
        by_position: (H, B, P) queries.
        key: (H, K, T).
        value: (H, T, K).
        positions: (H, P, 2 T) from the last query's earliest key to the first one's latest.
        hidden: (1, 1, T), added to the scores of each key.

    Returns:
        (H, B, K).
    """
    rows, keys = by_content.size(1), key.size(2)
    first = int(number.item()) * rows
    width = keys + rows
    for fits in (first >= 0, first <= positions.size(2), first + width <= positions.size(2)):
        torch._check(fits)
    scores = torch.bmm(by_position, positions.narrow(2, first, width))
    scores = torch.bmm(by_content, key) + align(scores, keys) + hidden
    return torch.bmm(torch.softmax(scores, dim=-1), value)


def over_blocks(step: Callable[..., Tensor], blocks: list[Tensor], shared: list[Tensor]) -> Tensor:
    """Run a function of a number and one of each of the blocks over all of them.

    The number is the block's from the last one. In an export it is a loop of the graph.

    Args:
        step: takes a number, the blocks and what is shared.
        blocks: (N, ...) each.
        shared: the same in each run.

    Returns:
        (N, ...).
    """
    count = blocks[0].size(0)
    numbers = torch.arange(count - 1, -1, -1)
    if not torch.compiler.is_exporting():
        runs = zip(numbers, *blocks, strict=True)
        return torch.stack([step(*run, *shared) for run in runs])

    def body(carried: list[Tensor], run: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        # What is carried has no use; a scan must carry something.
        return [carried[0].clone()], [step(*run, *shared)]

    _, (outputs,) = scan(body, [torch.zeros(1)], [numbers, *blocks], dim=0)
    out: Tensor = outputs
    return out
