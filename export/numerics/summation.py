"""Sums in float32 as some kernels take them: one number after the other.

Equal numbers then all round the same way, so the error grows with their count: ExecuTorch's mean
of 12,544 numbers is off by 900 units in the last place, where eager adds in pairs.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

_ATEN = torch.ops.aten
UNIT = torch.finfo(torch.float32).eps
Between = Callable[[Sequence[int]], Tensor]
"""Uniform numbers between -1 and 1."""


class Summation:
    """Operators that sum, on float64 tensors.

    Args:
        between: makes what is random in them: how each partial sum rounds, in another order.
        flush: take what float32 holds as a subnormal number for zero.
    """

    def __init__(self, between: Between, flush: bool) -> None:
        self.between = between
        self.flush = flush
        self.unit = UNIT
        self.operators: dict[Any, Callable[..., Any]] = {
            _ATEN.sum.default: self.sum,
            _ATEN.sum.dim_IntList: self.sum,
            _ATEN.mean.default: self.mean,
            _ATEN.mean.dim: self.mean,
            _ATEN.cumsum.default: self.cumsum,
            _ATEN.var.correction: self.variance,
            _ATEN.std.correction: lambda *args, **kwargs: self.variance(*args, **kwargs).sqrt(),
            _ATEN.var_mean.correction: self.variance_and_mean,
            _ATEN.linalg_vector_norm.default: self.norm,
        }

    def sum(self, x: Tensor, dim: Any = None, keepdim: bool = False, **_: Any) -> Tensor:
        """Return the sum over some dimensions, by default all."""
        dims = _dims(x, dim)
        kept = [axis for axis in range(x.ndim) if axis not in dims]
        rows = x.permute(*kept, *dims).reshape(*(x.shape[axis] for axis in kept), -1)
        partial = self._running(rows)
        total = rows.sum(-1) if not partial.numel() else partial[..., -1]
        if not is_whole(rows.abs().sum(-1)) or not is_whole(rows):
            moved = total + self._walk(partial.square().sum(-1))
            total = torch.where(total.isfinite(), moved, total)
        return (
            total.view([1 if i in dims else n for i, n in enumerate(x.shape)]) if keepdim else total
        )

    def mean(self, x: Tensor, dim: Any = None, keepdim: bool = False, **_: Any) -> Tensor:
        """Return the mean over some dimensions, by default all."""
        return self.sum(x, dim, keepdim) / _count(x, dim)

    def cumsum(self, x: Tensor, dim: int, **_: Any) -> Tensor:
        """Return the sums of all up to each."""
        if x.ndim == 0:
            return x.clone()
        partial = self._running(x.transpose(dim, -1))
        if is_whole(x) and is_whole(x.abs().sum(dim)):
            return partial.transpose(dim, -1)
        return (partial + self._walk(partial.square().cumsum(-1))).transpose(dim, -1)

    def variance(
        self, x: Tensor, dim: Any = None, correction: Any = 1, keepdim: bool = False
    ) -> Tensor:
        """Return the variance over some dimensions, by default all."""
        centred = x - self.mean(x, dim, keepdim=True)
        left = _count(x, dim) - (1 if correction is None else correction)
        return self.sum(self._squares(centred), dim, keepdim) / max(left, 0)

    def variance_and_mean(
        self, x: Tensor, dim: Any = None, correction: Any = 1, keepdim: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return the variance and the mean over some dimensions, by default all."""
        return self.variance(x, dim, correction, keepdim), self.mean(x, dim, keepdim)

    def norm(
        self, x: Tensor, ord: Any = 2, dim: Any = None, keepdim: bool = False, **_: Any
    ) -> Tensor:
        """Return the norm over some dimensions, by default all."""
        if ord != 2:
            return _ATEN.linalg_vector_norm.default(x, ord, dim, keepdim)  # type: ignore[no-any-return]
        return self.sum(self._squares(x), dim, keepdim).sqrt()

    def _squares(self, x: Tensor) -> Tensor:
        """Return the squares; those of tiny numbers float32 does not hold."""
        squares = x.float().square().double()
        tiny = torch.finfo(torch.float32).tiny
        return torch.where(squares < tiny, 0.0, squares) if self.flush else squares

    def _walk(self, squares: Tensor) -> Tensor:
        return self.unit * squares.sqrt() * self.between(squares.shape)

    def _running(self, rows: Tensor) -> Tensor:
        """Return the sums along the last axis up to each number, every one rounded."""
        dtype, own = (np.float32, rows.float()) if self.unit == UNIT else (np.float64, rows)
        with np.errstate(all="ignore"):
            sums = np.add.accumulate(own.numpy(), axis=-1, dtype=dtype)
        return torch.from_numpy(sums).double()


def is_whole(x: Tensor) -> bool:
    """Whether all are whole numbers that float32 holds: they add up without rounding."""
    return bool(((x == x.round()) & (x.abs() < 1 / UNIT)).all())


def _dims(x: Tensor, dim: Any) -> list[int]:
    given = [dim] if isinstance(dim, int) else list(dim or range(x.ndim))
    return [axis % x.ndim for axis in given]


def _count(x: Tensor, dim: Any) -> int:
    return int(np.prod([x.shape[axis] for axis in _dims(x, dim)], dtype=int))
