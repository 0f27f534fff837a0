"""What the blocks of one streaming step share: the masks, and the windows they read in turn.

Legend of the shapes: T encoder frames of a chunk, L left_context, R rows of a window, C channels.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor


class WholeUtteranceError(ValueError):
    """A model needs the whole utterance, whatever the chunks."""


class WindowShape(NamedTuple):
    """A window's name within its block, R and C."""

    name: str
    rows: int
    channels: int


class Chunk:
    """One pass over the blocks.

    Args:
        hidden: (1, 1, L + T), added to the scores of each key: 0, or the least number for one that
            must not be seen.
        within: (T, 1), 1 for the chunk's frames and 0 for the rubbish after them.
        windows: (1, R, C) each, in the order in which the blocks ask for them.
    """

    def __init__(self, hidden: Tensor, within: Tensor, windows: Iterable[Tensor]) -> None:
        self.hidden = hidden
        self.within = within
        self.new_rows: list[Tensor] = []
        self._windows = iter(windows)

    def extend(self, rows: Tensor) -> Tensor:
        """Put the next window before new rows (T, C): (1, R + T, C). The rows go to the host."""
        rows = self.as_batch(rows)
        self.new_rows.append(rows)
        return torch.cat([next(self._windows), rows], dim=1)

    def as_batch(self, rows: Tensor) -> Tensor:
        """Return rows (T, C) as (1, T, C); an unsqueeze would cut XNNPACK's delegate."""
        return rows.view(1, *rows.shape)
