"""What the searches share: hypotheses, and label sequences that the decoder is fed once."""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from deploy_bias.errors import ContractError, OptionError
from deploy_bias.runtime.decoder import Decoder
from deploy_bias.runtime.joint import Joint
from deploy_bias.runtime.state import State

BLANK = 0


@dataclass(frozen=True)
class Result:
    """What a search found.

    labels: without blanks. score: natural log-probability of the path. frames: the encoder frame
    at which each label came, counted from the start.
    """

    labels: tuple[int, ...]
    score: float
    frames: tuple[int, ...]


class Prefix:
    """A label sequence, and what the decoder says after it.

    Args:
        labels: without the blank that every sequence begins with.
        label: the last one, blank if there is none.
        before: the decoder's state without the last one.
    """

    def __init__(self, labels: tuple[int, ...], label: int, before: State) -> None:
        self.labels = labels
        self.label = label
        self.state = before
        self.decoder_out: np.ndarray | None = None
        # Several hypotheses may come to the same labels: shared as long as one of them lives.
        self._longer: weakref.WeakValueDictionary[int, Prefix] = weakref.WeakValueDictionary()

    def longer(self, label: int) -> Prefix:
        """Return this sequence with one more label; it must have been fed."""
        assert self.decoder_out is not None
        found = self._longer.get(label)
        if found is None:
            found = self._longer[label] = Prefix((*self.labels, label), label, self.state)
        return found


@dataclass(eq=False)
class Hypothesis:
    """A label sequence on its way through the frames; score and frames as in `Result`."""

    prefix: Prefix
    score: float = 0.0
    frames: tuple[int, ...] = ()

    def blank(self, log_prob: float) -> Hypothesis:
        """Return the hypothesis that leaves a frame with a blank."""
        return Hypothesis(self.prefix, self.score + log_prob, self.frames)

    def longer(self, label: int, log_prob: float, frame: int) -> Hypothesis:
        """Return the hypothesis with one more label."""
        return Hypothesis(self.prefix.longer(label), self.score + log_prob, (*self.frames, frame))


class Search(ABC):
    """A search over the encoder frames of one utterance; they may come in pieces.

    Attributes:
        first_label: what the decoder is fed before the first frame.
        multi_blank: whether it knows blanks that stand for several frames.

    Args:
        decoder: of a bundle.
        joint: of the same one.

    Raises:
        ContractError: they are of two models.
        OptionError: the model has several blanks, and the search knows one.
    """

    first_label = BLANK
    multi_blank = False

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
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next frame is the first one of an utterance.

        Raises:
            ContractError: the search is closed.
        """
        self._hypotheses = [Hypothesis(Prefix((), self.first_label, self._stream.start()))]
        self._frame = 0

    def accept(self, encoder_out: np.ndarray) -> None:
        """Search on.

        Args:
            encoder_out: the next encoder frames (T, E) float32; T may be 0.

        Raises:
            ContractError: another shape or dtype, NaN or infinity in a frame or in what the joint
                network makes of it, or the search is closed. Nothing is changed then.
        """
        self._stream.check_open()
        self._joint.check(encoder_out)
        hypotheses, first = self._hypotheses, self._frame
        try:
            for frame in encoder_out:
                hypotheses = self._advance(frame, hypotheses)
                self._frame += 1
        except ContractError:
            self._frame = first
            raise
        self._hypotheses = hypotheses

    def results(self, nbest: int = 1) -> list[Result]:
        """Return the best hypotheses so far, the best one first; `nbest` of them at most.

        Raises:
            OptionError: `nbest` is no positive int.
        """
        check_whole("nbest", nbest, 1)
        found = sorted(self._hypotheses, key=self._rank, reverse=True)
        return [Result(h.prefix.labels, h.score, h.frames) for h in found[:nbest]]

    def close(self) -> None:
        """End the search."""
        self._stream.close()

    @abstractmethod
    def _advance(self, frame: np.ndarray, hypotheses: list[Hypothesis]) -> list[Hypothesis]:
        """Return the hypotheses after a frame (E,), which is number `self._frame`."""

    def _rank(self, hypothesis: Hypothesis) -> float:
        return hypothesis.score

    def _log_probs(self, frame: np.ndarray, hypotheses: Sequence[Hypothesis]) -> np.ndarray:
        """Return the log-probabilities (n, V) float64 of the next label of each hypothesis."""
        prefixes = [hypothesis.prefix for hypothesis in hypotheses]
        self._feed(prefixes)
        outs = [prefix.decoder_out for prefix in prefixes if prefix.decoder_out is not None]
        return self._joint.log_probs(frame, outs)

    def _feed(self, prefixes: Iterable[Prefix]) -> None:
        new = list(dict.fromkeys(prefix for prefix in prefixes if prefix.decoder_out is None))
        if new:
            outs, states = self._stream.step(
                [prefix.state for prefix in new], [prefix.label for prefix in new]
            )
            for prefix, out, state in zip(new, outs, states, strict=True):
                prefix.decoder_out, prefix.state = out, state


def check_whole(name: str, value: object, least: int) -> None:
    """Raise an OptionError unless an option is an int, `least` or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise OptionError(f"{name} must be an int, {least} or more, got {value!r}.")
