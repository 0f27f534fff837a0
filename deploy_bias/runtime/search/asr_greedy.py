"""Greedy search of ESPnet's `asr` task: what it does with a beam_size of 1."""

import numpy as np

from deploy_bias.runtime.search.search import BLANK, Hypothesis, Search


class AsrGreedySearch(Search):
    """Take the most likely label of each frame: one at most, and blanks add nothing to the score.

    So a frame cannot give two labels, as it can in `greedy`, and the score is of the labels alone.
    """

    def _advance(self, frame: np.ndarray, hypotheses: list[Hypothesis]) -> list[Hypothesis]:
        (best,) = hypotheses
        log_probs = self._log_probs(frame, [best])[0]
        label = int(log_probs.argmax())
        if label == BLANK:
            return [best]
        return [best.longer(label, float(log_probs[label]), self._frame)]
