"""Three ways to lay one value a relative offset out as a matrix, each the fastest somewhere.

All of them move data only, so they agree bit for bit. `benchmarks/bias_graph.py` times them.

Legend of the shapes: Q query_length, K key_length, S segment.
"""

import math

import torch
from torch import Tensor


def toeplitz(diagonals: Tensor, query_length: int, key_length: int) -> Tensor:
    """Lay `diagonals` out by overlapping views and one copy: for eager torch and TorchScript.

    Args:
        diagonals: (Q + K - 1,), the values for the offsets 1 - K up to Q - 1.
        query_length: Q.
        key_length: K.

    Returns:
        (Q, K): row i holds `diagonals[Q - 1 - i : Q - 1 - i + K]`.
    """
    return diagonals.unfold(0, key_length, 1).flip(0)


def toeplitz_by_repeat(diagonals: Tensor, query_length: int, key_length: int) -> Tensor:
    """`toeplitz` from repeat, reshape and slice: few operators, any length, for ONNX.

    In rows of n - 1 cut from a repetition of period n, each row starts one element earlier
    than the row before.
    """
    period = query_length + key_length
    padded = torch.cat([diagonals[:1], diagonals])  # what stands first is never read
    ring = torch.cat([padded.narrow(0, query_length, key_length), padded[:query_length]])
    rows = ring.repeat(query_length)[: query_length * (period - 1)]
    return rows.reshape(query_length, period - 1)[:, :key_length]


def toeplitz_by_gather(diagonals: Tensor, query_length: int, key_length: int) -> Tensor:
    """`toeplitz` from rows of segments that stay in the cache: for ExecuTorch, static lengths.

    Each row of the matrix is K / S segments, and there are only Q + K - S different ones.
    `toeplitz_by_repeat` writes the matrix four times over, this once.
    """
    segment = _segment(key_length)
    segments = diagonals.as_strided((query_length + key_length - segment, segment), (1, 1))
    columns = torch.arange(0, key_length, segment)
    # A stride of 0 instead of a broadcast: ExecuTorch adds a row to a matrix faster.
    first = torch.arange(query_length - 1, -1, -1).as_strided((query_length, len(columns)), (1, 0))
    index = first + columns
    return torch.nn.functional.embedding(index, segments).reshape(query_length, key_length)


def _segment(key_length: int) -> int:
    """Return the divisor of `key_length` nearest to 128, where the gather was measured fastest."""
    divisors = [n for n in range(1, key_length + 1) if key_length % n == 0]
    return min(divisors, key=lambda n: abs(math.log2(n / 128)))
