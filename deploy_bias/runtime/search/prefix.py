"""What the searches of ESPnet's `asr` task share that look at prefixes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deploy_bias.runtime.decoder import Decoder
from deploy_bias.runtime.joint import Joint
from deploy_bias.runtime.search.beam import BeamSearch, Candidate
from deploy_bias.runtime.search.hypothesis import Hypothesis, Prefix
from deploy_bias.runtime.search.search import Advance, check_whole


@dataclass(eq=False, slots=True)
class ChainHypothesis(Hypothesis):
    """A hypothesis that knows the last of its prefixes, the longest one last, itself not."""

    chain: tuple[Prefix, ...] = ()

    def scored(self, score: float) -> ChainHypothesis:
        """Return the hypothesis with another score."""
        return ChainHypothesis(self.prefix, score, self.frames, self.log_probs, self.chain)


class PrefixSearch(BeamSearch):
    """A search that begins each frame by adding up paths.

    A hypothesis can also have come from a shorter one that is its prefix, by all further labels at
    this frame. From "Sequence transduction with recurrent neural networks" (Graves, 2012).

    Args:
        decoder: of a bundle.
        joint: of the same one.
        beam_size: as in `BeamSearch`.
        score_norm: as in `BeamSearch`.
        prefix_alpha: by how many labels a prefix may be shorter.

    Raises:
        OptionError: an option is out of range.
    """

    def __init__(
        self, decoder: Decoder, joint: Joint, beam_size: int, score_norm: bool, prefix_alpha: int
    ) -> None:
        check_whole("prefix_alpha", prefix_alpha, 0)
        self._alpha = prefix_alpha
        super().__init__(decoder, joint, beam_size=beam_size, score_norm=score_norm)

    def _longer(self, candidate: Candidate, frame: int) -> ChainHypothesis:
        before, longer = candidate.hypothesis, candidate.longer(frame)
        chain = before.chain if isinstance(before, ChainHypothesis) else ()
        kept = (*chain, before.prefix)[-self._alpha :] if self._alpha else ()
        return ChainHypothesis(longer.prefix, longer.score, longer.frames, longer.log_probs, kept)

    def _with_prefixes(self, hypotheses: Sequence[Hypothesis], frame: int) -> Advance:
        """Return the hypotheses, the longest first, with what their prefixes add."""
        longest = sorted(hypotheses, key=lambda h: len(h.prefix.labels), reverse=True)
        pairs = [
            (longer, shorter)
            for place, longer in enumerate(longest)
            for shorter in longest[place + 1 :]
            if self._is_prefix(shorter.prefix.labels, longer.prefix.labels)
        ]
        if not pairs:
            return longest
        # Those on the way from a prefix to what it became.
        between = [
            Hypothesis(prefix)
            for longer, shorter in pairs
            for prefix in self._between(shorter, longer)
        ]
        yield from self._ask([*longest, *between], frame, blanks_alone=True)
        scores = {id(hypothesis): hypothesis.score for hypothesis in longest}
        for longer, shorter in pairs:
            score = shorter.score
            if longer.prefix.boost is not None and shorter.prefix.boost is not None:
                score += longer.prefix.boost.total - shorter.prefix.boost.total
            labels = longer.prefix.labels[len(shorter.prefix.labels) :]
            way = (shorter.prefix, *self._between(shorter, longer))
            for prefix, label in zip(way, labels, strict=True):
                score += float(prefix.ahead[frame].log_probs[label])
            scores[id(longer)] = float(np.logaddexp(scores[id(longer)], score))
        return [hypothesis.scored(scores[id(hypothesis)]) for hypothesis in longest]

    def _is_prefix(self, short: tuple[int, ...], long: tuple[int, ...]) -> bool:
        return 0 < len(long) - len(short) <= self._alpha and long[: len(short)] == short

    def _between(self, shorter: Hypothesis, longer: Hypothesis) -> tuple[Prefix, ...]:
        count = len(longer.prefix.labels) - len(shorter.prefix.labels) - 1
        assert isinstance(longer, ChainHypothesis)
        return longer.chain[len(longer.chain) - count :]
