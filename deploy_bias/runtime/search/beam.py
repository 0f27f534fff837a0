"""What the beam searches share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from deploy_bias.errors import OptionError
from deploy_bias.runtime.decoder import Decoder
from deploy_bias.runtime.joint import Joint
from deploy_bias.runtime.language_model import LanguageModel
from deploy_bias.runtime.search.hotwords import Boost, Hotwords
from deploy_bias.runtime.search.hypothesis import BLANK, Hypothesis, Next
from deploy_bias.runtime.search.scorer import top
from deploy_bias.runtime.search.search import Advance, Asking, Search, check_whole


@dataclass(eq=False, slots=True)
class Candidate:
    """A hypothesis with one more label, before anything is made of it.

    score: with that label. hypothesis, after: what it prolongs, and what may come after that.
    """

    score: float
    hypothesis: Hypothesis
    after: Next
    label: int

    @property
    def labels(self) -> tuple[int, ...]:
        """Its labels."""
        return (*self.hypothesis.prefix.labels, self.label)

    def longer(self, frame: int) -> Hypothesis:
        """Return the hypothesis, whose last label came at a frame."""
        before = self.hypothesis
        return Hypothesis(
            before.prefix.longer(self.label),
            self.score,
            (*before.frames, frame),
            (*before.log_probs, float(self.after.log_probs[self.label])),
        )


class BeamSearch(Search):
    """What the beam searches share.

    Args:
        decoder: of a bundle.
        joint: of the same one.
        beam_size: how many hypotheses are kept, 1 to the number of labels.
        score_norm: whether the results are ranked by score over length.

    Raises:
        OptionError: beam_size is out of range.
    """

    def __init__(
        self, decoder: Decoder, joint: Joint, *, beam_size: int = 5, score_norm: bool = False
    ) -> None:
        check_whole("beam_size", beam_size, 1)
        if beam_size > decoder.vocab_size:
            raise OptionError(
                f"beam_size must be 1 to {decoder.vocab_size}, the number of labels, "
                f"got {beam_size}."
            )
        self._beam_size = beam_size
        self.by_score_norm = score_norm
        self.width = beam_size + 1
        super().__init__(decoder, joint)

    def take(
        self, hotwords: Hotwords | None, lm: LanguageModel | None = None, lm_weight: float = 0.0
    ) -> None:
        """Let hotwords and a language model lead the search, and reset it."""
        self._hotwords = hotwords
        if lm is not None:
            self._lm = lm.stream()
            self._first_lm_label = lm.first_label
            self.scorer.lm = self._lm
            self.scorer.lm_weight = lm_weight
        self.reset()

    def _ask(
        self,
        hypotheses: Sequence[Hypothesis],
        frames: int | Sequence[int],
        blanks_alone: bool = False,
    ) -> Asking:
        afters = yield from super()._ask(hypotheses, frames, blanks_alone)
        if self._hotwords is None:
            return afters
        return [
            _boosted(after, hypothesis.prefix.boost, self.width)
            for after, hypothesis in zip(afters, hypotheses, strict=True)
        ]

    def _rank(self, hypothesis: Hypothesis) -> float:
        # ESPnet counts the blank that begins each sequence.
        length = len(hypothesis.prefix.labels) + 1
        return hypothesis.score / length if self.by_score_norm else hypothesis.score

    def _candidate(
        self, hypothesis: Hypothesis, after: Next, label: int, log_prob: float
    ) -> Candidate:
        score = hypothesis.score + log_prob
        if hypothesis.prefix.lm_scores is not None:
            score += float(hypothesis.prefix.lm_scores[label])
        return Candidate(score, hypothesis, after, label)

    def _candidates(self, hypothesis: Hypothesis, after: Next) -> list[Candidate]:
        """Return a hypothesis with each of its beam_size most likely labels, the best first."""
        return [
            self._candidate(hypothesis, after, label, log_prob)
            for label, log_prob in after.labels(self._beam_size)
        ]

    def _expand(
        self,
        frame: int,
        staying: list[Hypothesis],
        nstep: int,
        gamma: float,
        grow: Callable[[Candidate], Hypothesis | None],
    ) -> Advance:
        """Prolong hypotheses at a frame, and return those that leave it with a blank.

        Args:
            frame: its number.
            staying: what is at it.
            nstep: labels at most; what is left then leaves, too.
            gamma: a label further below the best one is not followed.
            grow: makes a hypothesis of a candidate; None drops it.
        """
        leaving: list[Hypothesis] = []
        for _ in range(nstep):
            longer: list[Hypothesis] = []
            afters = yield from self._ask(staying, frame)
            for hypothesis, after in zip(staying, afters, strict=True):
                for label, log_prob in likely(after, self.width, gamma):
                    if label == BLANK:
                        leaving.append(hypothesis.blank(log_prob))
                        continue
                    grown = grow(self._candidate(hypothesis, after, label, log_prob))
                    if grown is not None:
                        longer.append(grown)
            staying = longer
            if not staying:
                return leaving
        afters = yield from self._ask(staying, frame, blanks_alone=True)
        return leaving + [h.blank(a.blank) for h, a in zip(staying, afters, strict=True)]

    def _best(self, hypotheses: Iterable[Hypothesis]) -> list[Hypothesis]:
        """Return the beam_size best ones, the best one first."""
        return sorted(hypotheses, key=by_score, reverse=True)[: self._beam_size]


def _boosted(after: Next, boost: Boost | None, width: int) -> Next:
    """Return what may come with what hotwords add."""
    assert boost is not None
    (best,) = top(boost.added(after.log_probs)[None], width)
    return Next(after.log_probs, best)


def by_score(hypothesis: Hypothesis | Candidate) -> float:
    """Return the score, as a key to sort by."""
    return hypothesis.score


def recombined(hypotheses: Iterable[Hypothesis]) -> list[Hypothesis]:
    """Add up the probabilities of those with the same labels, in the first one of them."""
    found: dict[tuple[int, ...], Hypothesis] = {}
    for hypothesis in hypotheses:
        labels = hypothesis.prefix.labels
        if labels in found:
            found[labels].score = float(np.logaddexp(found[labels].score, hypothesis.score))
        else:
            found[labels] = hypothesis
    return list(found.values())


def likely(after: Next, count: int, gamma: float) -> list[tuple[int, float]]:
    """Return the labels, blank among them, that are among the `count` most likely ones and not
    `gamma` below the best; with their log-probabilities."""
    bar = after.best[0][1] - gamma
    return [pair for pair in after.best[:count] if pair[1] >= bar]
