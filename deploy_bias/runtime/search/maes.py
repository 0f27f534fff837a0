"""Modified adaptive expansion search, ESPnet's `maes`."""

from deploy_bias.errors import OptionError
from deploy_bias.runtime.decoder import Decoder
from deploy_bias.runtime.joint import Joint
from deploy_bias.runtime.search.beam import BeamSearch, Candidate, recombined
from deploy_bias.runtime.search.hypothesis import Hypothesis
from deploy_bias.runtime.search.search import Advance, check_whole


class MaesSearch(BeamSearch):
    """At each frame all hypotheses are prolonged together, by `nstep` labels at most.

    Of each only the likeliest labels are followed: beam_size + expansion_beta of them, and none
    that is expansion_gamma below the best. Hypotheses of the same labels become one. From
    "Accelerating RNN transducer inference via adaptive expansion search" (Kim et al., 2020).

    Unlike in ESPnet, what a hypothesis scores never depends on the others that are scored with
    it: there, a shorter one of a batch attends to the zeros that pad it.

    Args:
        decoder: of a bundle.
        joint: of the same one.
        beam_size: as in `BeamSearch`.
        score_norm: as in `BeamSearch`.
        nstep: labels at one frame at most.
        expansion_gamma: natural logarithm.
        expansion_beta: candidates beyond beam_size.

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
        nstep: int = 2,
        expansion_gamma: float = 2.3,
        expansion_beta: int = 2,
    ) -> None:
        check_whole("nstep", nstep, 1)
        check_expansion(decoder, beam_size, expansion_gamma, expansion_beta)
        self._nstep, self._gamma = nstep, expansion_gamma
        super().__init__(decoder, joint, beam_size=beam_size, score_norm=score_norm)
        self.width = beam_size + expansion_beta

    def _advance(self, frame: int, hypotheses: list[Hypothesis]) -> Advance:
        def grow(candidate: Candidate) -> Hypothesis:
            return candidate.longer(frame)

        leaving = yield from self._expand(frame, hypotheses, self._nstep, self._gamma, grow)
        return self._best(recombined(leaving))


def check_expansion(decoder: Decoder, beam_size: int, gamma: float, beta: int) -> None:
    """Raise an OptionError unless so many candidates of a hypothesis can be followed."""
    check_whole("beam_size", beam_size, 1)
    check_whole("expansion_beta", beta, 0)
    if beam_size + beta > decoder.vocab_size:
        raise OptionError(
            "beam_size + expansion_beta must be at most the number of labels, "
            f"{decoder.vocab_size}, got {beam_size} + {beta}."
        )
    if not isinstance(gamma, int | float) or not gamma >= 0:
        raise OptionError(f"expansion_gamma must be 0 or more, got {gamma!r}.")
