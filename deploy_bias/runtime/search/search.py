"""A search over the encoder frames of one utterance."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence

import numpy as np

from deploy_bias.errors import ContractError, OptionError
from deploy_bias.runtime.decoder import Decoder, DecoderStream
from deploy_bias.runtime.joint import Joint
from deploy_bias.runtime.search.hotwords import Hotwords
from deploy_bias.runtime.search.hypothesis import BLANK, Hypothesis, Next, Prefix, Result
from deploy_bias.runtime.search.scorer import Query, Scorer, Steps

Asking = Generator[Query, None, list[Next]]
Advance = Generator[Query, None, list[Hypothesis]]
"""A step of a search, which may ask on its way; see `Search._ask`."""
RECENT = 32
"""Label sequences that are kept though no hypothesis holds them: what is nearly likely enough at a
frame is so at the next one, and would be fed to the decoder again."""


class Search:
    """A search over the encoder frames of one utterance; they may come in pieces.

    Attributes:
        first_label: what the decoder is fed before the first frame.
        multi_blank: whether it knows blanks that stand for several frames.
        whole: whether it takes the frames of an utterance at once alone.
        width: how many labels `Next.best` has to have.

    Args:
        decoder: of a bundle.
        joint: of the same one.

    Raises:
        ContractError: they are of two models.
        OptionError: the model has several blanks, and the search knows one.
    """

    first_label = BLANK
    multi_blank = False
    whole = False
    width = 1

    def __init__(self, decoder: Decoder, joint: Joint) -> None:
        if joint.graph.weights_sha256 != decoder.graph.weights_sha256:
            raise ContractError(
                "the decoder and the joint network are of two models; take both from one bundle."
            )
        if len(joint.blank_durations) > 1 and not self.multi_blank:
            raise OptionError(
                f"the model has {len(joint.blank_durations)} blanks, and this search knows one: it "
                "would take the others for tokens; take the search mbg."
            )
        self._joint = joint
        self._stream = decoder.stream()
        self.scorer = Scorer(self._stream, joint)
        self._hotwords: Hotwords | None = None
        self._lm: DecoderStream | None = None
        self._first_lm_label = 0
        self._recent: deque[Prefix] = deque(maxlen=RECENT)
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next frame is the first one of an utterance.

        Raises:
            ContractError: the search is closed.
        """
        boost = None if self._hotwords is None else self._hotwords.start()
        start = Prefix((), self.first_label, self._stream.start(), boost)
        if self._lm is not None:
            start.lm_state = self._lm.start()
            start.lm_label = self._first_lm_label
        self._hypotheses = [Hypothesis(start)]
        self._recent.clear()
        self._frames = 0

    def accept(self, encoder_out: np.ndarray) -> None:
        """Search on.

        Args:
            encoder_out: the next encoder frames (T, E) float32; T may be 0.

        Raises:
            ContractError: another shape or dtype, NaN or infinity in a frame or in what the joint
                network makes of it, or the search is closed. Nothing is changed then.
        """
        self.scorer.run([self.steps(encoder_out)])

    def steps(self, encoder_out: np.ndarray) -> Steps:
        """Return what `accept` does, for a `Scorer` that runs several searches; its errors too."""
        self._stream.check_open()
        self._joint.check(encoder_out)
        return self._steps(encoder_out)

    def results(self, nbest: int = 1) -> list[Result]:
        """Return the best hypotheses so far, the best one first; `nbest` of them at most.

        Raises:
            OptionError: `nbest` is no positive int.
        """
        check_whole("nbest", nbest, 1)
        found = sorted(map(_settled, self._hypotheses), key=self._rank, reverse=True)
        return [Result(h.prefix.labels, h.score, h.frames, h.log_probs) for h in found[:nbest]]

    def close(self) -> None:
        """End the search."""
        self._stream.close()
        if self._lm is not None:
            self._lm.close()
        self._recent.clear()

    def _search(self, hypotheses: list[Hypothesis], frames: range) -> Advance:
        """Return the hypotheses after some frames, by their numbers."""
        for frame in frames:
            hypotheses = yield from self._advance(frame, hypotheses)
        return hypotheses

    def _advance(self, frame: int, hypotheses: list[Hypothesis]) -> Advance:
        """Return the hypotheses after a frame, by its number."""
        raise NotImplementedError

    def _steps(self, encoder_out: np.ndarray) -> Steps:
        self._encoder_out = encoder_out
        before = self._frames
        try:
            frames = range(before, before + len(encoder_out))
            self._hypotheses = yield from self._search(self._hypotheses, frames)
            self._frames += len(encoder_out)
        finally:
            if self._frames == before:  # it failed, and other frames may have these numbers
                for prefix in (*self._recent, *(h.prefix for h in self._hypotheses)):
                    prefix.ahead = {}

    def _rank(self, hypothesis: Hypothesis) -> float:
        return hypothesis.score

    def _ask(
        self,
        hypotheses: Sequence[Hypothesis],
        frames: int | Sequence[int],
        blanks_alone: bool = False,
    ) -> Asking:
        """Return what may come after each hypothesis, at one frame or at a frame of each.

        blanks_alone: no label is taken, so the language model need not be asked.
        """
        labels = self._lm is not None and not blanks_alone
        if isinstance(frames, int):
            if not labels:
                try:  # most often all are known
                    return [hypothesis.prefix.ahead[frames] for hypothesis in hypotheses]
                except KeyError:
                    pass
            frames = [frames] * len(hypotheses)
        pairs = [(h.prefix, frame) for h, frame in zip(hypotheses, frames, strict=True)]
        new = {
            prefix: frame
            for prefix, frame in pairs
            if frame not in prefix.ahead or (labels and prefix.lm_scores is None)
        }
        if new:
            self._recent.extend(prefix for prefix in new if prefix.decoder_out is None)
            places = list(new.values())
            yield Query(list(new), places, self._encoder_out, self._frames, self.width, labels)
        return [prefix.ahead[frame] for prefix, frame in pairs]


def _settled(hypothesis: Hypothesis) -> Hypothesis:
    """Return a hypothesis that gave back what hotwords had lent it."""
    boost = hypothesis.prefix.boost
    if boost is None or boost.kept == boost.total:
        return hypothesis
    return hypothesis.scored(hypothesis.score + boost.kept - boost.total)


def check_whole(name: str, value: object, least: int) -> None:
    """Raise an OptionError unless an option is an int, `least` or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise OptionError(f"{name} must be an int, {least} or more, got {value!r}.")
