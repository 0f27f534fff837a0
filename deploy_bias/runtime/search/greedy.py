"""Greedy search: the best label at each step, one hypothesis."""

import numpy as np

from deploy_bias.runtime.search.search import BLANK, Hypothesis, Search

MOST_LABELS = 10
"""Labels at one frame at most, as elsewhere in the field: a bad model may never say blank."""


class GreedySearch(Search):
    """Take the most likely label until it is blank, then the next frame.

    ESPnet has no such search: its `default` with beam_size 1 keeps more than one hypothesis.
    """

    def _advance(self, frame: np.ndarray, hypotheses: list[Hypothesis]) -> list[Hypothesis]:
        (best,) = hypotheses
        for _ in range(MOST_LABELS):
            log_probs = self._log_probs(frame, [best])[0]
            label = int(log_probs.argmax())
            if label == BLANK:
                return [best.blank(float(log_probs[BLANK]))]
            best = best.longer(label, float(log_probs[label]), self._frame)
        return [best]
