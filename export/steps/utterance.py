"""What the blocks of one pass over a whole utterance share: masks, and relative positions.

Legend of the shapes: T encoder frames, the rubbish behind the genuine ones included, D size.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from deploy_bias.export.steps.chunk import Chunk
from deploy_bias.model.encoder.positions import LEGACY_FRAMES


class Utterance(Chunk):
    """The frames between two convolutions that take some away.

    Args:
        within: (T, 1), 1 for the genuine frames and 0 for the rubbish behind.
        block: queries of the attention at a time, a divisor of T.
        positions: (2 T, D), the encodings of query less key, from T - 1 down to -T.
        windows: (1, R, C) zeros each: what causal convolutions see before the first frame.
    """

    def __init__(
        self, within: Tensor, block: int, positions: Tensor, windows: Iterator[Tensor]
    ) -> None:
        least = torch.finfo(within.dtype).min
        super().__init__(((1.0 - within) * least).view(1, 1, -1), within, windows)
        self.block = block
        self.blocks = within.size(0) // block
        self.positions = positions

    def as_batch(self, rows: Tensor) -> Tensor:
        """Return rows (T, C) as (1, T, C); T is dynamic, and no view of XNNPACK's may be so."""
        return rows.unsqueeze(0)


def distances(size: int) -> Tensor:
    """Return query less key (2 T,) float32, from T - 1 down to -T."""
    return torch.arange(size - 1, -size - 1, -1, dtype=torch.float32)


def encodings(offsets: Tensor, frequencies: Tensor) -> Tensor:
    """Return sines and cosines (N, D) of offsets (N,) at (D / 2,) frequencies, in turn."""
    angles = offsets.unsqueeze(1) * frequencies
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


def thinned_offsets(size: int, scale: int, shift: Tensor) -> Tensor:
    """Return the offsets (2 T,) that `Conv1d` leaves: earlier keys are thinned from the first on.

    Args:
        size: T.
        scale: frames at the input of the blocks for one here.
        shift: (), the offset that became 0.
    """
    steps = distances(size)
    return steps * scale + earlier(size) * shift


def legacy_offsets(size: int, frames: Tensor) -> Tensor:
    """Return the offsets (2 T,) of the rows that ESPnet's legacy attention takes.

    See `deploy_bias.model.encoder.positions.legacy_positions`; there is no row for -1.

    Args:
        size: T.
        frames: (), how many are genuine.
    """
    steps = distances(size)
    before = earlier(size) * (steps + (LEGACY_FRAMES - frames))
    return before + later(size) * (steps + (LEGACY_FRAMES + 1))


def earlier(size: int) -> Tensor:
    """Return (2 T,), 1 where the key is at the query or before."""
    return (distances(size) >= 0).float()


def later(size: int) -> Tensor:
    """Return (2 T,), 1 where the key is two frames after the query or more."""
    return (distances(size) < -1).float()
