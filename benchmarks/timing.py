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
    """Time all candidates in each round; the first two rounds warm up and do not count."""
    seconds: dict[str, list[float]] = {key: [] for key in candidates}
    for round_ in range(rounds + 2):
        for key, run in candidates.items():
            start = time.perf_counter()
            run()
            if round_ >= 2:
                seconds[key].append(time.perf_counter() - start)
    numerator, denominator = ratio_of
    ratios = [a / b for a, b in zip(seconds[numerator], seconds[denominator], strict=True)]
    return Row(
        name=name,
        ms={key: statistics.median(values) * 1e3 for key, values in seconds.items()},
        ratio_of=ratio_of,
        ratio=statistics.median(ratios),
        at_least=at_least,
        at_most=at_most,
        notes=notes or {},
    )
