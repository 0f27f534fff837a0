"""Hotwords: phrases that a beam search is led to. No torch here.

The boost of a label sequence is the largest sum over phrases in it that do not overlap, so no label
is counted twice, however phrases contain each other. What has begun is lent: a sequence that leaves
a phrase, or ends in the middle of one, gives back what it was lent.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from deploy_bias.errors import OptionError


@dataclass(eq=False, slots=True)
class _Node:
    """The labels so far of some phrases. lent: the most that one of them gives so far. complete:
    what a phrase gives that ends here; 0 if none does."""

    lent: float = 0.0
    complete: float = 0.0
    children: dict[int, _Node] = field(default_factory=dict)


class Hotwords:
    """Phrases and their boosts.

    Args:
        phrases: the labels of each, and its boost for each label, natural logarithm.

    Raises:
        OptionError: a boost is not finite or not above 0.
    """

    def __init__(self, phrases: Iterable[tuple[tuple[int, ...], float]]) -> None:
        self.root = _Node()
        for labels, boost in phrases:
            check_boost(boost)
            node = self.root
            for count, label in enumerate(labels, 1):
                node = node.children.setdefault(label, _Node())
                node.lent = max(node.lent, boost * count)
            node.complete = max(node.complete, boost * len(labels))

    def start(self) -> Boost:
        """Return the boost of no labels."""
        return Boost(self, 0.0, ())


class Boost:
    """The boost of a label sequence. A value: a label gives another one.

    kept: of the phrases that are complete. total: with what is lent.

    Args:
        hotwords: that give it.
        kept: as above.
        begun: the phrases that the sequence ends in the middle of, and what was kept before each.
    """

    __slots__ = ("_begun", "_hotwords", "kept", "total")

    def __init__(
        self, hotwords: Hotwords, kept: float, begun: tuple[tuple[_Node, float], ...]
    ) -> None:
        self._hotwords, self._begun = hotwords, begun
        self.kept = kept
        self.total = max([kept, *(before + node.lent for node, before in begun)])

    def longer(self, label: int) -> Boost:
        """Return the boost with one more label."""
        reached = [
            (child, before)
            for node, before in (*self._begun, (self._hotwords.root, self.kept))
            if (child := node.children.get(label)) is not None
        ]
        kept = max(
            [self.kept, *(before + node.complete for node, before in reached if node.complete)]
        )
        begun = tuple((node, before) for node, before in reached if node.children)
        return Boost(self._hotwords, kept, begun)

    def added(self, log_probs: np.ndarray) -> np.ndarray:
        """Return log-probabilities (V,), blank first, with what each label adds to the boost."""
        scores = log_probs + (self.kept - self.total)
        scores[0] = log_probs[0]  # a blank leaves the labels as they are
        for label in self._labels():
            scores[label] = log_probs[label] + self.longer(label).total - self.total
        return scores

    def _labels(self) -> Iterator[int]:
        """Yield the labels that begin a phrase or go on with one."""
        yield from self._hotwords.root.children
        for node, _ in self._begun:
            yield from node.children


def check_boost(boost: object) -> None:
    """Raise an OptionError unless a boost is a finite number above 0."""
    number = isinstance(boost, int | float) and not isinstance(boost, bool)
    if not number or not 0 < boost < math.inf:  # type: ignore[operator]
        raise OptionError(f"the boost of a hotword must be a number above 0, got {boost!r}.")
