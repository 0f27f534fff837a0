"""Alignment-length synchronous beam search, ESPnet's `alsd`."""

import numpy as np

from deploy_bias.errors import ContractError
from deploy_bias.runtime.decoder import Decoder
from deploy_bias.runtime.joint import Joint
from deploy_bias.runtime.search.beam import BeamSearch, Candidate, by_score, recombined
from deploy_bias.runtime.search.hypothesis import Hypothesis
from deploy_bias.runtime.search.scorer import Steps
from deploy_bias.runtime.search.search import Advance, check_whole


class AlsdSearch(BeamSearch):
    """All hypotheses are of one length: labels and blanks together. Of whole utterances alone.

    From "Alignment-length synchronous decoding for RNN transducer" (Saon et al., 2020).

    Args:
        decoder: of a bundle.
        joint: of the same one.
        beam_size: as in `BeamSearch`.
        score_norm: as in `BeamSearch`.
        u_max: labels of an utterance at most; there are never more than frames.

    Raises:
        OptionError: an option is out of range.
    """

    whole = True

    def __init__(
        self,
        decoder: Decoder,
        joint: Joint,
        *,
        beam_size: int = 5,
        score_norm: bool = False,
        u_max: int = 50,
    ) -> None:
        check_whole("u_max", u_max, 0)
        self._most_labels = u_max
        super().__init__(decoder, joint, beam_size=beam_size, score_norm=score_norm)

    def steps(self, encoder_out: np.ndarray) -> Steps:
        """Search a whole utterance; see `Search.steps`.

        Raises:
            ContractError: it is not the first one since the search was opened or reset.
        """
        if self._frames:
            raise ContractError(
                "alsd takes the frames of an utterance at once, and has taken some; call reset, or "
                "take another search for a stream."
            )
        return super().steps(encoder_out)

    def _search(self, hypotheses: list[Hypothesis], frames: range) -> Advance:
        count = len(frames)
        final: list[Hypothesis] = []
        for length in range(count + min(self._most_labels, count - 1)):
            going = [h for h in hypotheses if length - len(h.prefix.labels) < count]
            if not going:
                break
            places = [length - len(hypothesis.prefix.labels) for hypothesis in going]
            afters = yield from self._ask(going, places)
            grown: list[Hypothesis | Candidate] = []
            for hypothesis, frame, after in zip(going, places, afters, strict=True):
                blank = hypothesis.blank(after.blank)
                grown.append(blank)
                if frame == count - 1:
                    final.append(blank)
                grown += self._candidates(hypothesis, after)
            grown.sort(key=by_score, reverse=True)
            # Cut before equals become one, as in ESPnet; a final one takes in its equals, too.
            best = grown[: self._beam_size]
            hypotheses = recombined(
                h.longer(length - len(h.labels) + 1) if isinstance(h, Candidate) else h
                for h in best
            )
        return final or hypotheses
