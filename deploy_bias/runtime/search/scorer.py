"""Answers what searches ask, of one stream or of many: few calls of few graphs."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from deploy_bias.errors import ContractError
from deploy_bias.runtime.decoder import DecoderStream
from deploy_bias.runtime.joint import Joint
from deploy_bias.runtime.language_model import log_probs_after
from deploy_bias.runtime.search.hypothesis import Next, Prefix


@dataclass(frozen=True, slots=True)
class Query:
    """What may come after each prefix at its frame?

    The answers are left in `Prefix.ahead`.

    prefixes, frames: as many of both. encoder_out: (T, E) float32, whose first frame is `first`.
    width: how many labels `Next.best` has to have. labels: whether what the language model adds is
    asked for, too.
    """

    prefixes: Sequence[Prefix]
    frames: Sequence[int]
    encoder_out: np.ndarray
    first: int
    width: int
    labels: bool = False


Steps = Generator[Query, None, None]
"""A search on its way through some frames; it is resumed when its query is answered."""


class Scorer:
    """Asks a decoder and a joint network, for all searches that share them at once.

    A graph has a static batch. Where a call would have rows to spare, they look ahead: they hold
    a prefix at later frames, where it is most often asked next. A row does not depend on the
    others, so neither does any result.

    Args:
        stream: of the decoder.
        joint: of the same bundle.

    Attributes:
        lm: of the language model, if there is one. lm_weight: of what it says.
    """

    def __init__(self, stream: DecoderStream, joint: Joint) -> None:
        self._stream = stream
        self._joint = joint
        self.lm: DecoderStream | None = None
        self.lm_weight = 0.0

    def run(self, searches: Sequence[Steps]) -> None:
        """Run searches to their end.

        Raises:
            ContractError: of the first one that fails; the others are run to their end before.
        """
        errors: list[ContractError] = []
        waiting = _resumed(searches, errors)
        while waiting:
            failed = self._answer([query for _, query in waiting])
            for number, error in failed.items():
                waiting[number][0].close()
                errors.append(error)
            going = [search for number, (search, _) in enumerate(waiting) if number not in failed]
            waiting = _resumed(going, errors)
        if errors:
            raise errors[0]

    def _answer(self, queries: Sequence[Query]) -> dict[int, ContractError]:
        """Return what is wrong with a query, by its place."""
        self._feed(prefix for query in queries for prefix in query.prefixes)
        if self.lm is not None:
            self._feed_lm(self.lm, (p for query in queries if query.labels for p in query.prefixes))
        wanted = [
            (query, prefix, frame)
            for query in queries
            for prefix, frame in zip(query.prefixes, query.frames, strict=True)
            if frame not in prefix.ahead
        ]
        if not wanted:
            return {}
        each, more = divmod(-len(wanted) % self._joint.batch, len(wanted))
        places: list[tuple[Prefix, int]] = []
        frames: list[np.ndarray] = []
        outs: list[np.ndarray] = []
        for number, (query, prefix, frame) in enumerate(wanted):
            end = query.first + len(query.encoder_out)
            assert prefix.decoder_out is not None
            for ahead in range(frame, min(frame + 1 + each + (number < more), end)):
                places.append((prefix, ahead))
                frames.append(query.encoder_out[ahead - query.first])
                outs.append(prefix.decoder_out)
            prefix.ahead = {}
        log_probs = self._joint.log_probs(frames, outs)
        width = max(query.width for query in queries)
        best = top(log_probs, width)
        for row, (prefix, frame) in enumerate(places):
            prefix.ahead[frame] = Next(log_probs[row], best[row])
        failed: dict[int, ContractError] = {}
        if not np.isnan(log_probs[:, 0]).any():
            return failed
        for number, query in enumerate(queries):
            for prefix, frame in zip(query.prefixes, query.frames, strict=True):
                if np.isnan(prefix.ahead[frame].blank):
                    failed[number] = _not_finite(query.encoder_out[frame - query.first])
        return failed

    def _feed(self, prefixes: Iterable[Prefix]) -> None:
        new = list(dict.fromkeys(prefix for prefix in prefixes if prefix.decoder_out is None))
        if new:
            outs, states = self._stream.run(
                [prefix.state for prefix in new], [prefix.label for prefix in new]
            )
            for prefix, out, state in zip(new, outs, states, strict=True):
                prefix.decoder_out, prefix.state = out, state

    def _feed_lm(self, lm: DecoderStream, prefixes: Iterable[Prefix]) -> None:
        new = list(dict.fromkeys(prefix for prefix in prefixes if prefix.lm_scores is None))
        if new:
            states = [prefix.lm_state for prefix in new if prefix.lm_state is not None]
            log_probs, after = log_probs_after(lm, states, [prefix.lm_label for prefix in new])
            scores = self.lm_weight * log_probs
            for prefix, row, state in zip(new, scores, after, strict=True):
                prefix.lm_scores, prefix.lm_state = row, state


def _resumed(searches: Iterable[Steps], errors: list[ContractError]) -> list[tuple[Steps, Query]]:
    """Resume searches; return those that ask again, and what. Those that fail add an error."""
    asking = []
    for search in searches:
        try:
            query = next(search, None)
        except ContractError as error:
            errors.append(error)
        else:
            if query is not None:
                asking.append((search, query))
    return asking


def top(values: np.ndarray, count: int) -> list[list[tuple[int, float]]]:
    """Return for each row (n, V) its largest values and where they are, the largest first."""
    rows = np.arange(len(values))[:, None]
    if count == 1:
        places = values.argmax(axis=1)[:, None]
    elif count < values.shape[1] // 4:
        places = np.argpartition(-values, count - 1, axis=1)[:, :count]
        places.sort(axis=1)  # the first of equal ones stays the first
        places = places[rows, np.argsort(-values[rows, places], axis=1, kind="stable")]
    else:
        places = np.argsort(-values, axis=1, kind="stable")[:, :count]
    found = values[rows, places].tolist()
    return [
        list(zip(labels, log_probs, strict=True))
        for labels, log_probs in zip(places.tolist(), found, strict=True)
    ]


def _not_finite(frame: np.ndarray) -> ContractError:
    return ContractError(
        "the joint network makes NaN or infinity of an encoder frame; its largest value is "
        f"{np.abs(frame).max():.3g}: look for what is wrong in its audio or features."
    )
