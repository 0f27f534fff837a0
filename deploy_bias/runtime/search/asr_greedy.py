"""Greedy search of ESPnet's `asr` task: what it does with a beam_size of 1."""

from deploy_bias.runtime.search.hypothesis import BLANK, Hypothesis
from deploy_bias.runtime.search.search import Advance, Search


class AsrGreedySearch(Search):
    """Take the most likely label of each frame: one at most, and blanks add nothing to the score.

    So a frame cannot give two labels, as it can in `greedy`, and the score is of the labels alone.
    """

    def _advance(self, frame: int, hypotheses: list[Hypothesis]) -> Advance:
        (best,) = hypotheses
        (after,) = yield from self._ask(hypotheses, frame)
        label, log_prob = after.best[0]
        return hypotheses if label == BLANK else [best.longer(label, log_prob, frame)]
