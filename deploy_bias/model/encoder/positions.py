"""Relative positions as sines and cosines, and their way into the scores.

Legend of the shapes: T frames (queries), L left context, D size, P = 2 T + L - 1 offsets.
Source: `espnet2.asr_transducer.encoder.modules.positional_encoding`; Transformer-XL is
arXiv:1901.02860.
"""

import math

import torch
from torch import Tensor

LEGACY_FRAMES = 5000
"""The rows of ESPnet's legacy table. Past them it keeps a larger one, which changes all that comes
after: shorter utterances too."""


def relative_positions(frames: int, left_context: int, size: int, like: Tensor) -> Tensor:
    """Return the encodings of key offsets from T + L - 1 before the query to T - 1 after it.

    The angles are float32 whatever the dtype, as in ESPnet: far from 0 their rounding is part of
    what a model was trained with.

    Args:
        frames: T.
        left_context: L, the keys before the first query.
        size: D, even.
        like: gives dtype and device.

    Returns:
        (1, P, D), earliest key first, in the dtype of `like`.
    """
    return _encodings(frames + left_context - 1, -frames, size, like)


def legacy_positions(frames: int, size: int, like: Tensor) -> Tensor:
    """Return the encodings that ESPnet's legacy attention takes: the head of a reversed table.

    They are of the offsets 4999 down to 5000 - T, whatever T is, so what a query scores depends on
    T. `align` takes the scores of these T rows as it takes those of P: key j of query i gets row
    T - 1 + j - i; key i + 1 gets 0; a later key j gets row j - i - 2 of query i + 1.

    Source: `LegacyRelPositionalEncoding` of `espnet.nets.pytorch_backend.transformer.embedding`.

    Args:
        frames: T, at most `LEGACY_FRAMES`.
        size: D, even.
        like: gives dtype and device.

    Returns:
        (1, T, D) in the dtype of `like`.
    """
    return _encodings(LEGACY_FRAMES - 1, LEGACY_FRAMES - 1 - frames, size, like)


def _encodings(first: int, end: int, size: int, like: Tensor) -> Tensor:
    """Return the encodings (1, first - end, D) of the offsets from `first` down to `end` + 1."""
    offsets = torch.arange(first, end, -1, dtype=torch.float32, device=like.device)
    pairs = torch.arange(0, size, 2, dtype=torch.float32, device=like.device)
    angles = offsets.unsqueeze(1) * torch.exp(pairs * -(math.log(10000.0) / size))
    table = torch.stack([angles.sin(), angles.cos()], dim=-1).view(1, -1, size)
    return table.to(like.dtype)


def align(scores: Tensor, keys: int) -> Tensor:
    """Move each query's scores by relative position to the keys that they belong to.

    Query t has key k at relative position T - 1 - t + k of the table: in memory, a step of one
    row less one element. So a slice, a reshape and a slice do it, without any index.

    Args:
        scores: (..., T, P + 1), by relative position; the last column is never read. Or (..., T,
            T + 1) by legacy position, with zeros in the last column.
        keys: K, L + T keys.

    Returns:
        (..., T, K).
    """
    frames, width = scores.shape[-2:]
    flat = scores.flatten(-2).narrow(-1, frames - 1, frames * (width - 1))
    aligned: Tensor = flat.unflatten(-1, (frames, width - 1)).narrow(-1, 0, keys)
    return aligned
