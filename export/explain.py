"""Where words are lost: one change at a time between eager float32 and what is deployed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from deploy_bias.bundle import Bundle
from deploy_bias.bundle.contract import Precision
from deploy_bias.errors import BundleError
from deploy_bias.export.eager import eager_graph
from deploy_bias.export.graphs import BundleWeights
from deploy_bias.export.parity.gate import one_thread
from deploy_bias.export.recordings import Heard, Utterance, hear
from deploy_bias.runtime import Graph, OfflineRecognizer, Recognizer
from deploy_bias.runtime.backends import BACKENDS, unmet
from deploy_bias.runtime.graph import load
from deploy_bias.runtime.recognizer.base import LEAD_IN

GREEDY, BEAMS = "greedy", ("default", "maes")
Open = type[Recognizer] | type[OfflineRecognizer]


@dataclass(frozen=True)
class Difference:
    """An utterance that is heard otherwise than by eager float32."""

    file: str
    words: str
    eager: str
    text: str


@dataclass(frozen=True)
class Change:
    """What was changed, and what it costs.

    name: all else is eager float32, chunks, the default lead-in and the greedy search. On a backend
    the graphs are exchanged one by one: each row has those above it, too.
    """

    name: str
    words: int
    errors: int
    differences: tuple[Difference, ...]

    @property
    def word_error_rate(self) -> float:
        """Errors for each word that is said."""
        return self.errors / self.words


def explain(
    bundle: Bundle,
    utterances: Sequence[Utterance],
    progress: Callable[[str], None] = lambda stage: None,
) -> list[Change]:
    """Recognise recordings under one change after the other; eager float32 is the first row.

    Raises:
        BundleError: the bundle cannot hear, or is damaged.
        BackendError: a package is not installed, or no backend of the bundle runs here.
    """
    with one_thread():
        return list(_Explanation(bundle, utterances, progress).changes())


class _Explanation:
    def __init__(
        self, bundle: Bundle, utterances: Sequence[Utterance], progress: Callable[[str], None]
    ) -> None:
        self._bundle, self._utterances, self._progress = bundle, utterances, progress
        contracts = {g.name: g for artifact in bundle.manifest.artifacts for g in artifact.graphs}
        weights, sha256 = BundleWeights(bundle), bundle.manifest.weights.sha256
        self._eager: dict[str, Graph] = {
            name: eager_graph(contract, weights.graph(contract).eager(torch.float32), sha256)
            for name, contract in contracts.items()
        }
        kinds: list[Open] = [
            kind for kind in (Recognizer, OfflineRecognizer) if contracts.keys() >= set(kind.GRAPHS)
        ]
        if not kinds:
            raise BundleError(f"{bundle.folder}: has no encoder, so it hears nothing; export one.")
        self._kind, *self._whole = kinds
        self._order = (*self._kind.GRAPHS, "decoder", "joint")
        self._here = [
            (name, precision)
            for name in bundle.manifest.backends
            if name in BACKENDS and not unmet(name)
            for precision in bundle.manifest.precisions(name)
        ]

    def changes(self) -> Iterator[Change]:
        first = self._hear("eager float32", self._kind, self._eager)
        yield self._change("eager float32", first, first)
        for backend, precision in self._here:
            graphs = dict(self._eager)
            loaded = load(self._bundle, backend, precision)
            for name in self._order:
                if name in loaded:
                    graphs[name] = loaded[name]
                    title = f"{backend} {precision}: {name}"
                    yield self._change(title, first, self._hear(title, self._kind, graphs))
        for kind in self._whole:
            title = "whole utterances"
            yield self._change(title, first, self._hear(title, kind, self._eager))
        title = "no lead-in"
        heard = self._hear(title, self._kind, self._eager, lead_in=0.0)
        yield self._change(title, first, heard)
        for search in BEAMS:
            title = f"search {search}"
            heard = self._hear(title, self._kind, self._eager, search=search)
            yield self._change(title, first, heard)

    def _hear(
        self,
        title: str,
        kind: Open,
        graphs: dict[str, Graph],
        search: str = GREEDY,
        lead_in: float = LEAD_IN,
    ) -> Heard:
        self._progress(title)
        backend, precision = self._with(kind)
        recognizer = kind(self._bundle, backend, search, precision=precision, lead_in=lead_in)
        recognizer.use(graphs)
        return hear(recognizer, self._utterances)

    def _with(self, kind: Open) -> tuple[str, Precision]:
        """Return a backend that has the graphs of a recogniser, which are exchanged then."""
        for backend, precision in self._here:
            artifacts = self._bundle.artifacts(backend, precision)
            there = {graph.name for artifact in artifacts for graph in artifact.graphs}
            if there.issuperset((*kind.GRAPHS, "decoder", "joint")):
                return backend, precision
        raise BundleError(f"{self._bundle.folder}: no backend of it that hears runs here.")

    def _change(self, name: str, first: Heard, heard: Heard) -> Change:
        pairs = zip(self._utterances, first.texts, heard.texts, strict=True)
        differences = tuple(
            Difference(one.name, one.words, before, text)
            for one, before, text in pairs
            if before != text
        )
        return Change(name, heard.words, heard.errors, differences)
