"""What the searches share: hypotheses, and label sequences that the decoder is fed once."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deploy_bias.runtime.search.hotwords import Boost
from deploy_bias.runtime.state import State

BLANK = 0


@dataclass(frozen=True)
class Result:
    """What a search found.

    labels: without blanks. score: natural log-probability of the path. frames: the encoder frame
    at which each label came, counted from the start. log_probs: of each label there, among all
    labels and blank: how sure the model was.
    """

    labels: tuple[int, ...]
    score: float
    frames: tuple[int, ...]
    log_probs: tuple[float, ...]


class Next:
    """What may come after a prefix at a frame.

    log_probs: (V,) float64, blank first. best: the most likely labels, the best one first, blank
    among them, with their log-probabilities, and what hotwords add to them.
    """

    __slots__ = ("best", "log_probs")

    def __init__(self, log_probs: np.ndarray, best: Sequence[tuple[int, float]]) -> None:
        self.log_probs = log_probs
        self.best = best

    @property
    def blank(self) -> float:
        """The log-probability of blank."""
        return float(self.log_probs[BLANK])

    def labels(self, count: int) -> list[tuple[int, float]]:
        """Return the most likely labels without blank, and their log-probabilities."""
        return [pair for pair in self.best if pair[0] != BLANK][:count]


class Prefix:
    """A label sequence, and what the decoder says after it.

    Args:
        labels: without the blank that every sequence begins with.
        label: the last one, blank if there is none.
        before: the decoder's state without the last one.
        boost: by hotwords, if there are any.

    Attributes:
        state: of the decoder; with the last label once decoder_out is there.
        decoder_out: (D,) float32, None until the last label was fed.
        lm_state: of the language model, if there is one; with the last label once lm_scores is
            there.
        lm_scores: (V,) float64, what the language model adds to each label; None until it was fed.
        ahead: what may come next, by frame; of the frame that is searched and some behind it.
    """

    __slots__ = (
        "__weakref__",
        "_longer",
        "ahead",
        "boost",
        "decoder_out",
        "label",
        "labels",
        "lm_label",
        "lm_scores",
        "lm_state",
        "state",
    )

    def __init__(
        self, labels: tuple[int, ...], label: int, before: State, boost: Boost | None = None
    ) -> None:
        self.labels = labels
        self.label = label
        self.state = before
        self.boost = boost
        self.lm_label = label
        self.lm_state: State | None = None
        self.lm_scores: np.ndarray | None = None
        self.decoder_out: np.ndarray | None = None
        self.ahead: dict[int, Next] = {}
        # Several hypotheses may come to the same labels: shared as long as one of them lives.
        self._longer: weakref.WeakValueDictionary[int, Prefix] | None = None

    def longer(self, label: int) -> Prefix:
        """Return this sequence with one more label; it must have been fed."""
        assert self.decoder_out is not None
        if self._longer is None:
            self._longer = weakref.WeakValueDictionary()
        found = self._longer.get(label)
        if found is None:
            boost = None if self.boost is None else self.boost.longer(label)
            found = Prefix((*self.labels, label), label, self.state, boost)
            found.lm_state = self.lm_state
            self._longer[label] = found
        return found


@dataclass(eq=False, slots=True)
class Hypothesis:
    """A label sequence on its way through the frames; the rest as in `Result`."""

    prefix: Prefix
    score: float = 0.0
    frames: tuple[int, ...] = ()
    log_probs: tuple[float, ...] = ()

    def blank(self, log_prob: float) -> Hypothesis:
        """Return the hypothesis that leaves a frame with a blank."""
        return self.scored(self.score + log_prob)

    def scored(self, score: float) -> Hypothesis:
        """Return the hypothesis with another score."""
        return Hypothesis(self.prefix, score, self.frames, self.log_probs)

    def longer(self, label: int, log_prob: float, frame: int) -> Hypothesis:
        """Return the hypothesis with one more label."""
        return Hypothesis(
            self.prefix.longer(label),
            self.score + log_prob,
            (*self.frames, frame),
            (*self.log_probs, log_prob),
        )
