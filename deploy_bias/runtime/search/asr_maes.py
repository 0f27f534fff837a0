"""Modified adaptive expansion search of ESPnet's `asr` task."""

from deploy_bias.runtime.decoder import Decoder
from deploy_bias.runtime.joint import Joint
from deploy_bias.runtime.search.beam import Candidate
from deploy_bias.runtime.search.hypothesis import Hypothesis
from deploy_bias.runtime.search.maes import check_expansion
from deploy_bias.runtime.search.prefix import PrefixSearch
from deploy_bias.runtime.search.search import Advance, check_whole


class AsrMaesSearch(PrefixSearch):
    """As `maes`, but paths to the same labels are added up by prefixes, and not in the end.

    What is a hypothesis before the frame is not come to again at it.

    Args:
        decoder: of a bundle.
        joint: of the same one.
        beam_size: as in `BeamSearch`.
        score_norm: as in `BeamSearch`.
        nstep: labels at one frame at most, 2 or more.
        expansion_gamma: as in `MaesSearch`.
        expansion_beta: as in `MaesSearch`.
        prefix_alpha: as in `PrefixSearch`.

    Raises:
        OptionError: an option is out of range.
    """

    def __init__(
        self,
        decoder: Decoder,
        joint: Joint,
        *,
        beam_size: int = 5,
        score_norm: bool = True,
        nstep: int = 2,
        expansion_gamma: float = 2.3,
        expansion_beta: int = 2,
        prefix_alpha: int = 1,
    ) -> None:
        check_whole("nstep", nstep, 2)
        check_expansion(decoder, beam_size, expansion_gamma, expansion_beta)
        self._nstep, self._gamma = nstep, expansion_gamma
        super().__init__(decoder, joint, beam_size, score_norm, prefix_alpha)
        self.width = beam_size + expansion_beta

    def _advance(self, frame: int, hypotheses: list[Hypothesis]) -> Advance:
        staying = yield from self._with_prefixes(hypotheses, frame)
        known = {hypothesis.prefix.labels for hypothesis in staying}

        def grow(candidate: Candidate) -> Hypothesis | None:
            return None if candidate.labels in known else self._longer(candidate, frame)

        leaving = yield from self._expand(frame, staying, self._nstep, self._gamma, grow)
        return self._best(leaving)
