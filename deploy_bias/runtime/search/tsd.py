"""Time-synchronous beam search, ESPnet's `tsd`."""

from deploy_bias.runtime.decoder import Decoder
from deploy_bias.runtime.joint import Joint
from deploy_bias.runtime.search.beam import BeamSearch, by_score, recombined
from deploy_bias.runtime.search.hypothesis import Hypothesis
from deploy_bias.runtime.search.search import Advance, check_whole


class TsdSearch(BeamSearch):
    """At each frame hypotheses leave with a blank after 0 to max_sym_exp - 1 labels.

    From "Alignment-length synchronous decoding for RNN transducer" (Saon et al., 2020).

    Args:
        decoder: of a bundle.
        joint: of the same one.
        beam_size: as in `BeamSearch`.
        score_norm: as in `BeamSearch`.
        max_sym_exp: rounds at a frame, 2 or more; the last one is of blanks alone.

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
        max_sym_exp: int = 3,
    ) -> None:
        check_whole("max_sym_exp", max_sym_exp, 2)
        self._rounds = max_sym_exp
        super().__init__(decoder, joint, beam_size=beam_size, score_norm=score_norm)

    def _advance(self, frame: int, hypotheses: list[Hypothesis]) -> Advance:
        leaving: list[Hypothesis] = []
        staying = hypotheses
        for number in range(self._rounds):
            last = number == self._rounds - 1
            afters = yield from self._ask(staying, frame, blanks_alone=last)
            pairs = list(zip(staying, afters, strict=True))
            leaving += [hypothesis.blank(after.blank) for hypothesis, after in pairs]
            if not last:
                longer = [c for pair in pairs for c in self._candidates(*pair)]
                longer.sort(key=by_score, reverse=True)
                staying = [c.longer(frame) for c in longer[: self._beam_size]]
        return self._best(recombined(leaving))
