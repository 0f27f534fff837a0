"""N-step constrained beam search, `nsc` of ESPnet's `asr` task."""

from deploy_bias.runtime.decoder import Decoder
from deploy_bias.runtime.joint import Joint
from deploy_bias.runtime.search.beam import Candidate, by_score
from deploy_bias.runtime.search.hypothesis import Hypothesis
from deploy_bias.runtime.search.prefix import PrefixSearch
from deploy_bias.runtime.search.search import Advance, check_whole


class NscSearch(PrefixSearch):
    """At each frame the best beam_size label sequences are prolonged together, nstep times.

    From "RNN-T models fail to generalize to out-of-domain audio" and its search (Boyer et al.,
    "A study of transducer based end-to-end ASR with ESPnet", arXiv:2201.05420).

    Args:
        decoder: of a bundle.
        joint: of the same one.
        beam_size: as in `BeamSearch`.
        score_norm: as in `BeamSearch`.
        nstep: labels at one frame at most. After a single one ESPnet adds no blank.
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
        nstep: int = 1,
        prefix_alpha: int = 1,
    ) -> None:
        check_whole("nstep", nstep, 1)
        self._nstep = nstep
        super().__init__(decoder, joint, beam_size, score_norm, prefix_alpha)

    def _advance(self, frame: int, hypotheses: list[Hypothesis]) -> Advance:
        staying = yield from self._with_prefixes(hypotheses, frame)
        leaving: list[Hypothesis] = []
        for _ in range(self._nstep):
            afters = yield from self._ask(staying, frame)
            longer: list[Candidate] = []
            for hypothesis, after in zip(staying, afters, strict=True):
                leaving.append(hypothesis.blank(after.blank))
                longer += self._candidates(hypothesis, after)
            longer.sort(key=by_score, reverse=True)
            known = {hypothesis.prefix.labels for hypothesis in staying}
            new = [candidate for candidate in longer if candidate.labels not in known]
            staying = [self._longer(candidate, frame) for candidate in new[: self._beam_size]]
        if self._nstep > 1 and staying:
            afters = yield from self._ask(staying, frame, blanks_alone=True)
            staying = [h.blank(a.blank) for h, a in zip(staying, afters, strict=True)]
        return self._best([*leaving, *staying])
