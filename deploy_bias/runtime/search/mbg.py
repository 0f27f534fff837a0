"""Greedy search with blanks that stand for several frames, ESPnet's `mbg`."""

from dataclasses import dataclass

from deploy_bias.runtime.decoder import Decoder
from deploy_bias.runtime.joint import Joint
from deploy_bias.runtime.search.hypothesis import Hypothesis
from deploy_bias.runtime.search.search import Advance, Search

LABELS_PER_FRAME = 4


@dataclass(eq=False, slots=True)
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

    def _advance(self, frame: int, hypotheses: list[Hypothesis]) -> Advance:
        (best,) = hypotheses
        if isinstance(best, SkippingHypothesis) and frame < best.resume:
            return hypotheses
        for _ in range(LABELS_PER_FRAME):
            (after,) = yield from self._ask([best], frame)
            label, log_prob = after.best[0]
            if label < len(self._durations):
                left = best.blank(log_prob)
                resume = frame + self._durations[label]
                return [
                    SkippingHypothesis(left.prefix, left.score, left.frames, left.log_probs, resume)
                ]
            best = best.longer(label, log_prob, frame)
        return [best]
