"""The precision "auto": int8, but float32 for the layers that cost words.

Everything is tried in int8 first; where that costs nothing, nothing is kept. Else the linear layers
of the encoder, the decoder and the joint network are put in order by what each does alone: how far
the outputs of its graph move on the stored cases (root mean square) with that layer quantised and
no other. The first ones are kept in float32, as few as are needed.

What "costs" is: more word errors on the recordings of the user than eager float32 makes. Without
recordings it is another text than float32's of the speech in the package, and labels along the
stored utterances that float32 does not prefer.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from deploy_bias.bundle import Bundle
from deploy_bias.cli.recordings import count_errors
from deploy_bias.errors import MismatchError
from deploy_bias.export.eager import eager_graph
from deploy_bias.export.graph import Call, ExportGraph
from deploy_bias.export.numerics.quantization import Twin
from deploy_bias.export.parity.agreement import REQUIRED, AgreementProof
from deploy_bias.export.parity.vectors import stored_cases
from deploy_bias.export.recordings import Heard, Utterance, hear, shipped_speech
from deploy_bias.export.rollout import run_case
from deploy_bias.runtime import OfflineRecognizer, Recognizer

FloatLayers = dict[str, dict[str, str]]
"""By graph and layer: why it is kept."""
Cost = Callable[[Mapping[str, Call]], tuple[bool, str]]
"""Whether quantised graphs, by name, cost no more than allowed, and what they cost in words."""
QUANTIZED = ("encoder", "offline_encoder", "decoder", "joint")
"""The kinds of graphs that have linear layers."""


def choose_float_layers(
    bundle: Bundle,
    graphs: Sequence[ExportGraph],
    utterances: Sequence[Utterance] = (),
    max_wer_loss: float = 0.0,
    progress: Callable[[str], None] = lambda stage: None,
) -> FloatLayers:
    """Return the layers to leave in float32, each with the reason.

    Args:
        bundle: of these graphs, in any precision: its vectors, and what recognises with them.
        graphs: of the model.
        utterances: to count word errors on; without any, labels along the stored ones are counted.
        max_wer_loss: word errors that may be more than in float32, in % of the words.
        progress: called with the name of each stage.

    Raises:
        MismatchError: it costs more even with every layer in float32.
    """
    vectors = bundle.tensors(bundle.manifest.vectors)
    twins = {g.contract.name: Twin(g) for g in graphs if g.contract.kind in QUANTIZED}
    layers = [(name, layer) for name, twin in twins.items() for layer in twin.layers]
    costs = [_word_cost(bundle, graphs, utterances or shipped_speech(), max_wer_loss)]
    if not utterances:
        costs.append(_label_cost(graphs, vectors))

    def keep(kept: Sequence[tuple[str, str]]) -> tuple[bool, str]:
        calls = {
            name: twin.call([layer for graph, layer in kept if graph == name])
            for name, twin in twins.items()
        }
        judged = [cost(calls) for cost in costs]
        return all(is_cheap for is_cheap, _ in judged), ", ".join(told for _, told in judged)

    progress("try all layers in int8")
    is_cheap, told = keep(())
    if is_cheap:
        return {}
    progress(f"measure {len(layers)} layers one by one: {told}")
    moved = {
        (graph.contract.name, layer): _movement(graph, twins[graph.contract.name], layer, vectors)
        for graph in graphs
        for layer in (twins[graph.contract.name].layers if graph.contract.name in twins else ())
    }
    order = sorted(layers, key=lambda layer: -moved[layer])
    few, many = 0, 1
    while not keep(order[:many])[0]:
        if many >= len(order):
            raise MismatchError(
                f"--precision auto: {told}, and with every layer in float32 "
                f"{keep(order)[1]}: 8 bits are not what costs words; look at the recordings."
            )
        few, many = many, min(2 * many, len(order))
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if keep(order[:middle])[0] else (middle, many)
    after = keep(order[:many])[1]
    chosen: FloatLayers = {}
    for name, layer in order[:many]:
        chosen.setdefault(name, {})[layer] = (
            f"in int8 it moves the outputs by {moved[name, layer]:.1%}; all in int8: {told}; "
            f"with {many} of {len(order)} in float32: {after}"
        )
        progress(f"keep {name} {layer} in float32: alone it moves {moved[name, layer]:.1%}")
    return chosen


def _movement(
    graph: ExportGraph, twin: Twin, layer: str, vectors: Mapping[str, np.ndarray]
) -> float:
    """Return how far the worst output of a graph moves if one layer is quantised."""
    call = twin.call([name for name in twin.layers if name != layer])
    worst = 0.0
    for _, steps, expected in stored_cases(graph.contract, vectors):
        outputs = run_case(graph.contract, call, steps, torch.float32)
        for name, tensor in expected.items():
            size = tensor.double().square().sum().sqrt()
            off = (outputs[name] - tensor).double().square().sum().sqrt()
            if size:
                worst = max(worst, float(off / size))
    return worst


def _word_cost(
    bundle: Bundle, graphs: Sequence[ExportGraph], utterances: Sequence[Utterance], allowed: float
) -> Cost:
    sha256 = bundle.manifest.weights.sha256
    contracts = {graph.contract.name: graph.contract for graph in graphs}
    eager = {graph.contract.name: graph.eager(torch.float32) for graph in graphs}
    offline = contracts.keys() >= set(OfflineRecognizer.GRAPHS)
    kind = OfflineRecognizer if offline else Recognizer

    def recognized(calls: Mapping[str, Call]) -> Heard:
        chosen = {
            name: eager_graph(contracts[name], call, sha256)
            for name, call in {**eager, **calls}.items()
        }
        return hear(kind(bundle, graphs=chosen), utterances)

    before = recognized({})
    if not any(one.words for one in utterances):
        utterances = [
            replace(one, words=text) for one, text in zip(utterances, before.texts, strict=True)
        ]
        errors = count_errors([one.words for one in utterances], before.texts)
        before = replace(before, words=errors.words, errors=errors.total)

    def cost(calls: Mapping[str, Call]) -> tuple[bool, str]:
        heard = recognized(calls)
        told = f"{heard.errors} word errors of {heard.words}, float32 makes {before.errors}"
        return 100 * (heard.errors - before.errors) <= allowed * heard.words, told

    return cost


def _label_cost(graphs: Sequence[ExportGraph], vectors: Mapping[str, np.ndarray]) -> Cost:
    by_name = {graph.contract.name: graph for graph in graphs}
    proof = AgreementProof(by_name["decoder"], by_name["joint"], vectors)
    required = REQUIRED["int8"] or 0.0

    def cost(calls: Mapping[str, Call]) -> tuple[bool, str]:
        judged = list(proof.judge(calls["decoder"], calls["joint"], "int8").values())
        counted = [one for one in judged if one.compared]
        share = min((one.share for one in counted), default=1.0)
        finite = all(one.finite for one in judged)
        return finite and share >= required, f"eager's label is preferred in {share:.1%}"

    return cost
