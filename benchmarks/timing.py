"""Timing that survives a noisy machine: the candidates in turn, compared round by round."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """One comparison: medians in ms, and the ratio that is asked for.

    at_least, at_most: the bound on `ratio`, the median over rounds of `numerator / denominator`.
    """

    name: str
    ms: dict[str, float]
    ratio_of: tuple[str, str]
    ratio: float
    at_least: float | None = None
    at_most: float | None = None
    notes: dict[str, float] = field(default_factory=dict)

    @property
    def met(self) -> bool:
        return (self.at_least is None or self.ratio >= self.at_least) and (
            self.at_most is None or self.ratio <= self.at_most
        )


def compare(
    name: str,
    candidates: dict[str, Callable[[], object]],
    ratio_of: tuple[str, str],
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    rounds: int = 31,
    notes: dict[str, float] | None = None,
) -> Row:
    """Time all candidates and compare two of them."""
    seconds = time_in_turn(candidates, rounds)
    return Row(
        name=name,
        ms=medians(seconds),
        ratio_of=ratio_of,
        ratio=ratio(seconds, *ratio_of),
        at_least=at_least,
        at_most=at_most,
        notes=notes or {},
    )


def time_in_turn(
    candidates: dict[str, Callable[[], object]], rounds: int
) -> dict[str, list[float]]:
    """Time all candidates in each round; the first two rounds warm up and do not count."""
    seconds: dict[str, list[float]] = {key: [] for key in candidates}
    for round_ in range(rounds + 2):
        for key, run in candidates.items():
            start = time.perf_counter()
            run()
            if round_ >= 2:
                seconds[key].append(time.perf_counter() - start)
    return seconds


def medians(seconds: dict[str, list[float]]) -> dict[str, float]:
    """Return the median of each candidate in ms."""
    return {key: statistics.median(values) * 1e3 for key, values in seconds.items()}


def ratio(seconds: dict[str, list[float]], numerator: str, denominator: str) -> float:
    """Return the median over rounds of the ratio of two candidates."""
    pairs = zip(seconds[numerator], seconds[denominator], strict=True)
    return statistics.median(a / b for a, b in pairs)
