"""Beam search of a transducer without prefixes, ESPnet's `default`."""

import heapq
from itertools import count

from deploy_bias.runtime.search.beam import BeamSearch, Candidate, by_score
from deploy_bias.runtime.search.hypothesis import Hypothesis
from deploy_bias.runtime.search.search import Advance

MOST_STEPS = 100


class DefaultSearch(BeamSearch):
    """At each frame the best hypothesis is prolonged until enough have left it with a blank.

    Enough: beam_size of them score better than each that has not. From "Sequence transduction
    with recurrent neural networks" (Graves, 2012), without its sums over prefixes.

    Where blank is so unlikely that they never leave, as on frames that are no speech, ESPnet goes
    on for ever. This stops after MOST_STEPS for each of beam_size, with the best that have left.
    """

    def _advance(self, frame: int, hypotheses: list[Hypothesis]) -> Advance:
        order = count()  # of equal ones the first
        staying: list[tuple[float, int, Hypothesis | Candidate]] = [
            (-hypothesis.score, next(order), hypothesis) for hypothesis in hypotheses
        ]
        heapq.heapify(staying)
        leaving: list[Hypothesis] = []
        for _ in range(MOST_STEPS * self._beam_size):
            best = heapq.heappop(staying)[2]
            if isinstance(best, Candidate):
                best = best.longer(frame)
            (after,) = yield from self._ask([best], frame)
            leaving.append(best.blank(after.blank))
            for candidate in self._candidates(best, after):
                heapq.heappush(staying, (-candidate.score, next(order), candidate))
            bar = -staying[0][0]
            better = [hypothesis for hypothesis in leaving if hypothesis.score > bar]
            if len(better) >= self._beam_size:
                return sorted(better, key=by_score)
        return sorted(leaving, key=by_score)[-self._beam_size :]
