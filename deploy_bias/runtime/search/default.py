"""Beam search of a transducer without prefixes, ESPnet's `default`."""

import numpy as np

from deploy_bias.runtime.search.beam import BeamSearch, by_score, top
from deploy_bias.runtime.search.search import BLANK, Hypothesis

MOST_STEPS = 100


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
            best = max(staying, key=by_score)
            staying.remove(best)
            log_probs = self._log_probs(frame, [best])[0]
            leaving.append(best.blank(float(log_probs[BLANK])))
            for label in top(log_probs[BLANK + 1 :], self._beam_size) + 1:
                staying.append(best.longer(int(label), float(log_probs[label]), self._frame))
            bar = max(staying, key=by_score).score
            better = [hypothesis for hypothesis in leaving if hypothesis.score > bar]
            if len(better) >= self._beam_size:
                return sorted(better, key=by_score)
        return sorted(leaving, key=by_score)[-self._beam_size :]
