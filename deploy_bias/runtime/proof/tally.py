"""What was measured of one graph. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Literal

import numpy as np

from deploy_bias.bundle.contract import Precision
from deploy_bias.runtime.graph import Graph
from deploy_bias.runtime.proof.report import ProofRow


class Tally:
    """What was measured of a graph so far."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.error = self.worst = 0.0
        self.problem: str | None = None
        self.squares: dict[str, list[float]] = {}
        self.compared = self.agreed = 0

    def timed(self, graph: Graph, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run a graph."""
        begin = perf_counter()
        outputs = graph.run(inputs)
        self.times.append((perf_counter() - begin) * 1e3)
        return outputs

    def compare(self, got: np.ndarray, expected: np.ndarray, limit: np.ndarray, where: str) -> None:
        """Compare each element with eager's."""
        if not got.size:
            return
        off = _difference(got, expected)
        self.error = max(self.error, float(off.max()))
        over = np.where(np.isposinf(limit), 0.0, off / limit)
        at = int(over.argmax())
        sizes = f"off by {off.flat[at]:.2g}, allowed {limit.flat[at]:.2g}"
        self.over(float(over.flat[at]), f"{where}: {sizes}")

    def measure(self, name: str, got: np.ndarray, expected: np.ndarray, where: str) -> None:
        """Add to the distance of an output."""
        off = _difference(got, expected)
        self.error = max(self.error, float(off.max(initial=0.0)))
        if not np.isfinite(off).all():
            self.over(np.inf, f"{where}: NaN or infinity")
            return
        squares = self.squares.setdefault(name, [0.0, 0.0])
        squares[0] += float((off * off).sum())
        squares[1] += float((expected.astype(np.float64) ** 2).sum())

    def over(self, part: float, where: str) -> None:
        """Note what part of its limit an error is."""
        if part > self.worst:
            self.worst = part
            if part > 1:
                self.problem = where

    def row(
        self,
        graph: str,
        backend: str,
        precision: Precision,
        measure: Literal["elements", "distance"],
    ) -> ProofRow:
        """Return it as a row."""
        median, late = np.percentile(self.times, [50, 95]) if self.times else (0.0, 0.0)
        return ProofRow(
            graph=graph,
            backend=backend,
            precision=precision,
            measure=measure,
            steps=len(self.times),
            max_abs_error=self.error if np.isfinite(self.error) else None,
            over_limit=self.worst if np.isfinite(self.worst) else None,
            compared=self.compared,
            agreed=self.agreed,
            median_ms=float(median),
            percentile95_ms=float(late),
            problem=self.problem,
        )


def _difference(got: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return the distance of each element; what is not finite must be so in the same places."""
    same = (got == expected) | (_is_nan(got) & _is_nan(expected))
    with np.errstate(invalid="ignore"):
        off = np.abs(got.astype(np.float64) - expected.astype(np.float64))
    return np.where(same, 0.0, np.where(np.isnan(off), np.inf, off))


def _is_nan(array: np.ndarray) -> np.ndarray:
    """Return where an array of any dtype holds NaN."""
    nan: np.ndarray = np.isnan(array) if array.dtype.kind == "f" else np.zeros(array.shape, bool)
    return nan
