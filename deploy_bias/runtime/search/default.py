"""Beam search of a transducer without prefixes, ESPnet's `default`."""

import numpy as np

from deploy_bias.errors import OptionError
from deploy_bias.runtime.decoder import Decoder
from deploy_bias.runtime.joint import Joint
from deploy_bias.runtime.search.base import BLANK, Hypothesis, Search, check_whole

MOST_STEPS = 100


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
        self._score_norm = score_norm
        super().__init__(decoder, joint)

    def _rank(self, hypothesis: Hypothesis) -> float:
        # ESPnet counts the blank that begins each sequence.
        length = len(hypothesis.prefix.labels) + 1
        return hypothesis.score / length if self._score_norm else hypothesis.score


class DefaultSearch(BeamSearch):
    """At each frame the best hypothesis is prolonged until enough have left it with a blank.

    Enough: beam_size of them score better than each that has not. From "Sequence transduction
    with recurrent neural networks" (Graves, 2012), without its sums over prefixes.

    Where blank is so unlikely that they never leave, as on frames that are no speech, ESPnet goes
    on for ever. This stops after MOST_STEPS for each of beam_size, with the best that have left.
    """

    def _advance(self, frame: np.ndarray, hypotheses: list[Hypothesis]) -> list[Hypothesis]:
        staying, leaving = list(hypotheses), list[Hypothesis]()
        for _ in range(MOST_STEPS * self._beam_size):
            best = max(staying, key=_score)
            staying.remove(best)
            log_probs = self._log_probs(frame, [best])[0]
            leaving.append(best.blank(float(log_probs[BLANK])))
            for label in top(log_probs[BLANK + 1 :], self._beam_size) + 1:
                staying.append(best.longer(int(label), float(log_probs[label]), self._frame))
            bar = max(staying, key=_score).score
            better = [hypothesis for hypothesis in leaving if hypothesis.score > bar]
            if len(better) >= self._beam_size:
                return sorted(better, key=_score)
        return sorted(leaving, key=_score)[-self._beam_size :]


def top(values: np.ndarray, count: int) -> np.ndarray:
    """Return where the largest values are, the largest first; `count` at most."""
    return np.argsort(-values, kind="stable")[:count]


def _score(hypothesis: Hypothesis) -> float:
    return hypothesis.score
