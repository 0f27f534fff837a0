"""Modified adaptive expansion search, ESPnet's `maes`."""

from collections.abc import Iterable

import numpy as np

from deploy_bias.errors import OptionError
from deploy_bias.runtime.decoder import Decoder
from deploy_bias.runtime.joint import Joint
from deploy_bias.runtime.search.beam import BeamSearch, by_score, top
from deploy_bias.runtime.search.search import BLANK, Hypothesis, check_whole


class MaesSearch(BeamSearch):
    """At each frame all hypotheses are prolonged together, by `nstep` labels at most.

    Of each only the likeliest labels are followed: beam_size + expansion_beta of them, and none
    that is expansion_gamma below the best. Hypotheses of the same labels become one. From
    "Accelerating RNN transducer inference via adaptive expansion search" (Kim et al., 2020).

    Unlike in ESPnet, what a hypothesis scores never depends on the others that are scored with
    it: there, a shorter one of a batch attends to the zeros that pad it.

    Args:
        decoder: of a bundle.
        joint: of the same one.
        beam_size: as in `BeamSearch`.
        score_norm: as in `BeamSearch`.
        nstep: labels at one frame at most.
        expansion_gamma: natural logarithm.
        expansion_beta: candidates beyond beam_size.

    Raises:
        OptionError: an option is out of range.
    """

    def __init__(
        self,
        decoder: Decoder,
        joint: Joint,
        *,
        beam_size: int = 5,
        score_norm: bool = False,
        nstep: int = 2,
        expansion_gamma: float = 2.3,
        expansion_beta: int = 2,
    ) -> None:
        check_whole("beam_size", beam_size, 1)
        check_whole("expansion_beta", expansion_beta, 0)
        check_whole("nstep", nstep, 1)
        if beam_size + expansion_beta > decoder.vocab_size:
            raise OptionError(
                "beam_size + expansion_beta must be at most the number of labels, "
                f"{decoder.vocab_size}, got {beam_size} + {expansion_beta}."
            )
        if not isinstance(expansion_gamma, int | float) or not expansion_gamma >= 0:
            raise OptionError(f"expansion_gamma must be 0 or more, got {expansion_gamma!r}.")
        self._nstep = nstep
        self._gamma = expansion_gamma
        self._candidates = beam_size + expansion_beta
        super().__init__(decoder, joint, beam_size=beam_size, score_norm=score_norm)

    def _advance(self, frame: np.ndarray, hypotheses: list[Hypothesis]) -> list[Hypothesis]:
        leaving: list[Hypothesis] = []
        staying = hypotheses
        for _ in range(self._nstep):
            longer: list[Hypothesis] = []
            for hypothesis, log_probs in zip(staying, self._log_probs(frame, staying), strict=True):
                labels = top(log_probs, self._candidates)
                bar = log_probs[labels[0]] - self._gamma
                for label in (int(label) for label in labels if log_probs[label] >= bar):
                    log_prob = float(log_probs[label])
                    if label == BLANK:
                        leaving.append(hypothesis.blank(log_prob))
                    else:
                        longer.append(hypothesis.longer(label, log_prob, self._frame))
            staying = longer
            if not staying:
                break
        if staying:
            blanks = self._log_probs(frame, staying)[:, BLANK]
            leaving += [h.blank(float(p)) for h, p in zip(staying, blanks, strict=True)]
        return sorted(_recombined(leaving), key=by_score, reverse=True)[: self._beam_size]


def _recombined(hypotheses: Iterable[Hypothesis]) -> list[Hypothesis]:
    """Add up the probabilities of those with the same labels."""
    found: dict[tuple[int, ...], Hypothesis] = {}
    for hypothesis in hypotheses:
        labels = hypothesis.prefix.labels
        if labels in found:
            found[labels].score = float(np.logaddexp(found[labels].score, hypothesis.score))
        else:
            found[labels] = hypothesis
    return list(found.values())
