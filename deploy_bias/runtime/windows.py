"""Windows over rows that are appended and never change: cheap to keep, to fork and to drop."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Arrays = list[np.ndarray]
"""The buffers of some windows."""


class Windows:
    """The last rows of several series that grow together, as a value.

    Appending gives the next value and leaves this one as it was, so that a hypothesis is forked by
    appending to the same value twice. Each window is one contiguous piece of a buffer: appending
    writes the new row behind it, and only a second append to the same value, or a full buffer,
    copies the window. Buffers that nobody holds any more are used again: fresh memory would cost
    a fork several times the copy (3.5 against 1.8 ms a step at the recipe size, context 256).

    Args:
        shapes: (N, size) of each window; all rows are zeros at first.
        pool: where buffers wait that nobody holds, an empty list at first; all windows that share
            it have the same shapes.
    """

    __slots__ = ("_at", "_buffers")

    def __init__(self, shapes: Sequence[tuple[int, int]], pool: list[Arrays]) -> None:
        self._buffers, self._at = _Buffers(tuple(shapes), pool), 0
        for view in self.views():
            view[:] = 0

    def views(self) -> Arrays:
        """Return each window, (N, size) float32, oldest row first; a view, not to be written."""
        at, buffers = self._at, self._buffers
        return [
            array[at : at + rows]
            for array, (rows, _) in zip(buffers.arrays, buffers.shapes, strict=True)
        ]

    def append(self, new: Sequence[np.ndarray]) -> Windows:
        """Return the windows with one more row each, the oldest ones gone.

        Args:
            new: a row (size,) for each window.
        """
        if self._buffers.claim(self._at):
            after = Windows.__new__(Windows)
            after._buffers, after._at = self._buffers, self._at
        else:
            # In buffers of their own, with rubbish in them.
            after = Windows.__new__(Windows)
            after._buffers, after._at = _Buffers(self._buffers.shapes, self._buffers.pool), 0
            for target, view in zip(after.views(), self.views(), strict=True):
                target[:] = view
            after._buffers.claim(0)
        buffers = after._buffers
        for array, (rows, _), row in zip(buffers.arrays, buffers.shapes, new, strict=True):
            array[rows + after._at] = row
        after._at += 1
        return after


class _Buffers:
    """An array for each window: twice its rows, those of the window first.

    Args:
        shapes: (N, size) of each window.
        pool: they are taken from it if it has any, and left there in the end.
    """

    __slots__ = ("arrays", "pool", "shapes", "spare", "used")

    def __init__(self, shapes: tuple[tuple[int, int], ...], pool: list[Arrays]) -> None:
        self.shapes, self.pool = shapes, pool
        self.spare = max(rows for rows, _ in shapes)
        self.used = 0
        try:
            self.arrays = pool.pop()
        except IndexError:
            self.arrays = [np.zeros((rows + self.spare, size), np.float32) for rows, size in shapes]

    def __del__(self) -> None:
        self.pool.append(self.arrays)

    def claim(self, at: int) -> bool:
        """Take the row behind the window at `at`, unless it is taken or there is none."""
        if at != self.used or at == self.spare:
            return False
        self.used += 1
        return True
