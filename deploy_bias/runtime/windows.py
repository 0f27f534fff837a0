"""Windows over rows that are appended and never change: cheap to keep, to fork and to drop."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Arrays = list[np.ndarray]
"""The buffers of some windows."""


class Windows:
    """The last rows of several series that grow together, as a value.

    Appending gives the next value and leaves this one as it was, so that a hypothesis is forked by
    appending to the same value twice. Each window is one piece of a buffer, contiguous for one
    hypothesis: appending writes the new rows behind it, and only a second append to the same
    value, or a full buffer, copies the window. Buffers that nobody holds any more are used again:
    fresh memory would cost a fork several times the copy (3.5 against 1.8 ms a step at the recipe
    size, context 256).

    Args:
        shapes: (W, N, ...) of each window: W hypotheses, N rows; all rows are zeros at first.
        dtypes: of each window.
        pool: where buffers wait that nobody holds, an empty list at first; all windows that share
            it have the same shapes and dtypes.
    """

    __slots__ = ("_at", "_buffers")

    def __init__(
        self,
        shapes: Sequence[tuple[int, ...]],
        dtypes: Sequence[np.dtype],
        pool: list[Arrays],
    ) -> None:
        self._buffers, self._at = _Buffers(tuple(shapes), tuple(dtypes), pool), 0
        for view in self.views():
            view[:] = 0

    def views(self) -> Arrays:
        """Return each window, (W, N, ...), oldest row first; a view, not to be written."""
        at, buffers = self._at, self._buffers
        return [
            array[:, at : at + shape[1]]
            for array, shape in zip(buffers.arrays, buffers.shapes, strict=True)
        ]

    def append(self, rows: Sequence[np.ndarray]) -> Windows:
        """Return the windows with the same number of rows more each, as many oldest ones gone.

        Args:
            rows: (W, n, ...) for each window; n may be 0.
        """
        # No window is longer than the spare rows: the rows before these would fall out at once.
        spare = self._buffers.spare
        count = min(rows[0].shape[1], spare)
        if not count:
            return self
        after = Windows.__new__(Windows)
        if self._buffers.claim(self._at, count):
            after._buffers, after._at = self._buffers, self._at
        else:
            # In buffers of their own, with rubbish in them.
            old = self._buffers
            after._buffers, after._at = _Buffers(old.shapes, old.dtypes, old.pool), 0
            for target, view in zip(after.views(), self.views(), strict=True):
                target[:] = view
            after._buffers.claim(0, count)
        buffers = after._buffers
        for array, shape, new in zip(buffers.arrays, buffers.shapes, rows, strict=True):
            end = shape[1] + after._at
            array[:, end : end + count] = new[:, -count:]
        after._at += count
        return after


class _Buffers:
    """An array for each window: its rows and as many spare ones as the longest window has.

    Args:
        shapes: (W, N, ...) of each window.
        dtypes: of each window.
        pool: they are taken from it if it has any, and left there in the end.
    """

    __slots__ = ("arrays", "dtypes", "pool", "shapes", "spare", "used")

    def __init__(
        self, shapes: tuple[tuple[int, ...], ...], dtypes: tuple[np.dtype, ...], pool: list[Arrays]
    ) -> None:
        self.shapes, self.dtypes, self.pool = shapes, dtypes, pool
        self.spare = max(shape[1] for shape in shapes)
        self.used = 0
        try:
            self.arrays = pool.pop()
        except IndexError:
            self.arrays = [
                np.zeros((shape[0], shape[1] + self.spare, *shape[2:]), dtype)
                for shape, dtype in zip(shapes, dtypes, strict=True)
            ]

    def __del__(self) -> None:
        self.pool.append(self.arrays)

    def claim(self, at: int, count: int) -> bool:
        """Take rows behind the window at `at`, unless they are taken or there are too few."""
        if at != self.used or at + count > self.spare:
            return False
        self.used += count
        return True
