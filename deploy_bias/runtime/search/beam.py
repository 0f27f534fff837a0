"""What the beam searches share."""

import numpy as np

from deploy_bias.errors import OptionError
from deploy_bias.runtime.decoder import Decoder
from deploy_bias.runtime.joint import Joint
from deploy_bias.runtime.search.search import Hypothesis, Search, check_whole


class BeamSearch(Search):
    """What the beam searches share.

    Args:
        decoder: of a bundle.
        joint: of the same one.
        beam_size: how many hypotheses are kept, 1 to the number of labels.
        score_norm: whether the results are ranked by score over length.

    Raises:
        OptionError: beam_size is out of range.
    """

    def __init__(
        self, decoder: Decoder, joint: Joint, *, beam_size: int = 5, score_norm: bool = False
    ) -> None:
        check_whole("beam_size", beam_size, 1)
        if beam_size > decoder.vocab_size:
            raise OptionError(
                f"beam_size must be 1 to {decoder.vocab_size}, the number of labels, "
                f"got {beam_size}."
            )
        self._beam_size = beam_size
        self.by_score_norm = score_norm
        super().__init__(decoder, joint)

    def _rank(self, hypothesis: Hypothesis) -> float:
        # ESPnet counts the blank that begins each sequence.
        length = len(hypothesis.prefix.labels) + 1
        return hypothesis.score / length if self.by_score_norm else hypothesis.score


def top(values: np.ndarray, count: int) -> np.ndarray:
    """Return where the largest values are, the largest first; `count` at most."""
    return np.argsort(-values, kind="stable")[:count]


def by_score(hypothesis: Hypothesis) -> float:
    """Return the score, as a key to sort by."""
    return hypothesis.score
