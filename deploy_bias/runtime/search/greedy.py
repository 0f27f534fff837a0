"""Greedy search: the best label at each step, one hypothesis."""

from deploy_bias.runtime.search.hypothesis import BLANK, Hypothesis
from deploy_bias.runtime.search.search import Advance, Search

MOST_LABELS = 10
"""Labels at one frame at most, as elsewhere in the field: a bad model may never say blank."""


class GreedySearch(Search):
    """Take the most likely label until it is blank, then the next frame.

    ESPnet has no such search: its `default` with beam_size 1 keeps more than one hypothesis.
    """

    def _advance(self, frame: int, hypotheses: list[Hypothesis]) -> Advance:
        (best,) = hypotheses
        for _ in range(MOST_LABELS):
            (after,) = yield from self._ask([best], frame)
            label, log_prob = after.best[0]
            if label == BLANK:
                return [best.blank(log_prob)]
            best = best.longer(label, log_prob, frame)
        return [best]
