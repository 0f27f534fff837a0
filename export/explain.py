"""Where words are lost: one change at a time between eager float32 and what is deployed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from deploy_bias.bundle import Bundle
from deploy_bias.bundle.contract import Precision, settings_of
from deploy_bias.bundle.settings import EncoderSettings, FrontendSettings
from deploy_bias.errors import BundleError, DeployBiasError
from deploy_bias.export.eager import eager_graph
from deploy_bias.export.graph import ExportGraph
from deploy_bias.export.graphs import BundleWeights
from deploy_bias.export.graphs.offline import OfflineEncoderGraph, OfflineFrontendGraph
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
        weights = BundleWeights(bundle)
        graphs = {name: weights.graph(contract) for name, contract in contracts.items()}
        self._eager = self._runnable(graphs)
        self._kind: Open = Recognizer
        self._whole: dict[str, Graph] = {}
        if contracts.keys() >= set(OfflineRecognizer.GRAPHS):
            self._kind = OfflineRecognizer
        elif contracts.keys() >= set(Recognizer.GRAPHS):
            try:
                self._whole = self._eager | self._runnable(_for_whole(graphs, weights))
            except DeployBiasError as error:
                progress(f"no whole utterances: {error}")
        else:
            raise BundleError(f"{bundle.folder}: has no encoder, so it hears nothing; export one.")

    def changes(self) -> Iterator[Change]:
        first = self._hear("eager float32", self._eager)
        yield self._change("eager float32", first, first)
        for backend, precision in self._here():
            graphs = dict(self._eager)
            loaded = load(self._bundle, backend, precision)
            for name in (*self._kind.GRAPHS, "decoder", "joint"):
                if name in loaded:
                    graphs[name] = loaded[name]
                    title = f"{backend} {precision}: {name}"
                    yield self._change(title, first, self._hear(title, graphs))
        if self._whole:
            title = "whole utterances"
            yield self._change(title, first, self._hear(title, self._whole, OfflineRecognizer))
        title = "no lead-in"
        yield self._change(title, first, self._hear(title, self._eager, lead_in=0.0))
        for search in BEAMS:
            title = f"search {search}"
            yield self._change(title, first, self._hear(title, self._eager, search=search))

    def _here(self) -> list[tuple[str, Precision]]:
        """Return the backends that run here, each with its precisions."""
        manifest = self._bundle.manifest
        names = [name for name in manifest.backends if name in BACKENDS and not unmet(name)]
        return [(name, precision) for name in names for precision in manifest.precisions(name)]

    def _runnable(self, graphs: Mapping[str, ExportGraph]) -> dict[str, Graph]:
        """Return eager float32 as the runtime takes graphs."""
        sha256 = self._bundle.manifest.weights.sha256
        return {
            name: eager_graph(graph.contract, graph.eager(torch.float32), sha256)
            for name, graph in graphs.items()
        }

    def _hear(
        self,
        title: str,
        graphs: Mapping[str, Graph],
        kind: Open | None = None,
        search: str = GREEDY,
        lead_in: float = LEAD_IN,
    ) -> Heard:
        self._progress(title)
        kind = kind or self._kind
        recognizer = kind(self._bundle, search=search, graphs=graphs, lead_in=lead_in)
        return hear(recognizer, self._utterances)

    def _change(self, name: str, first: Heard, heard: Heard) -> Change:
        pairs = zip(self._utterances, first.texts, heard.texts, strict=True)
        differences = tuple(
            Difference(one.name, one.words, before, text)
            for one, before, text in pairs
            if before != text
        )
        return Change(name, heard.words, heard.errors, differences)


def _for_whole(graphs: Mapping[str, ExportGraph], weights: BundleWeights) -> dict[str, ExportGraph]:
    """Return the frontend and the encoder of a model that streams, for whole utterances.

    Raises:
        OptionError: the encoder has a block that is for streams alone.
    """
    frontend, encoder = graphs["frontend"].contract, graphs["encoder"].contract
    settings = settings_of(frontend, FrontendSettings)
    left_context = settings_of(encoder, EncoderSettings).left_context
    rest = (settings, weights.where)
    return {
        "offline_frontend": OfflineFrontendGraph.make(frontend.module, weights.tensors, *rest),
        "offline_encoder": OfflineEncoderGraph.make(
            encoder.module, weights.tensors, left_context, *rest
        ),
    }
