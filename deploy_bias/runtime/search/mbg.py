"""Greedy search with blanks that stand for several frames, ESPnet's `mbg`."""

from dataclasses import dataclass

import numpy as np

from deploy_bias.runtime.decoder import Decoder
from deploy_bias.runtime.joint import Joint
from deploy_bias.runtime.search.search import Hypothesis, Search

LABELS_PER_FRAME = 4


@dataclass(eq=False)
class SkippingHypothesis(Hypothesis):
    """A hypothesis that goes on at frame `resume`."""

    resume: int = 0


class MultiBlankGreedySearch(Search):
    """Take the most likely label until it is a blank, then skip as many frames as the blank says.

    From "Multi-blank transducers for speech recognition" (Xu et al., arXiv:2211.03541). At one
    frame there are `LABELS_PER_FRAME` labels at most.

    Args:
        decoder: of a bundle.
        joint: of the same one; it says how many frames each blank stands for.
    """

    multi_blank = True

    def __init__(self, decoder: Decoder, joint: Joint) -> None:
        self._durations = joint.blank_durations
        self.first_label = len(self._durations) - 1
        super().__init__(decoder, joint)

    def _advance(self, frame: np.ndarray, hypotheses: list[Hypothesis]) -> list[Hypothesis]:
        (best,) = hypotheses
        if isinstance(best, SkippingHypothesis) and self._frame < best.resume:
            return [best]
        for _ in range(LABELS_PER_FRAME):
            log_probs = self._log_probs(frame, [best])[0]
            label = int(log_probs.argmax())
            log_prob = float(log_probs[label])
            if label < len(self._durations):
                resume = self._frame + self._durations[label]
                return [SkippingHypothesis(**vars(best.blank(log_prob)), resume=resume)]
            best = best.longer(label, log_prob, self._frame)
        return [best]
