"""Test data for runtimes that we did not write: single calls, with what must come out.

A data set is one call of a graph: its inputs with the state among them, the outputs by float64
rounded to float32, and how far off each output may be, which is the budget of
`deploy_bias.export.parity.judge`: four
times eager float32's own error, the worst over all cases. They are taken from the cases that a
bundle holds as test vectors; of a graph with state from its longest rollout, with the state as
eager float32 carried it there. Stress is left to `verify`: test runners know one tolerance a graph.

Only float32 graphs have test data: a quantised one is judged by the labels it prefers, and no
single call shows them.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from deploy_bias.bundle import Bundle
from deploy_bias.bundle.contract import GraphContract
from deploy_bias.errors import BackendError, BundleError
from deploy_bias.export.graph import ExportGraph, Step, Tensors
from deploy_bias.export.graphs import BundleWeights
from deploy_bias.export.parity.gate import one_thread
from deploy_bias.export.parity.judge import Truth
from deploy_bias.export.parity.proof import Proof
from deploy_bias.export.rollout import Outputs, run_case
from deploy_bias.export.testdata import executorch, onnx

INDEX = "test_data.json"
FORMATS = {"executorch": executorch, "onnx": onnx}
"""The backends whose runtimes have a format for test data; each a file of this folder."""
LEAST = torch.finfo(torch.float32).tiny
STEPS = 5
"""Of a case, evenly spread, the first and the last among them; all if there are no more."""


@dataclass(frozen=True)
class DataSet:
    """One call of a graph.

    Attributes:
        case: what it was taken from.
        step: of that case, from 0.
        inputs: by name, the state among them.
        outputs: by name, what must come out; rounded from float64.
        tolerance: by output, the largest absolute distance that is allowed.
    """

    case: str
    step: int
    inputs: Outputs
    outputs: Outputs
    tolerance: dict[str, float]


def write_test_data(
    bundle: Bundle, output: Path, progress: Callable[[str], None] = lambda stage: None
) -> list[str]:
    """Write the test data of a bundle's float32 graphs, each format in its own layout.

    ExecuTorch: model.bpte, a BundledProgram. ONNX: a folder for each graph with model.onnx and
    test_data_set_N/input_K.pb and output_K.pb. test_data.json says by file and graph what each
    data set was taken from and how far off its outputs may be; N is the index in all of them.

    Args:
        bundle: an open one.
        output: a folder, made if it is missing.
        progress: called with the name of each stage.

    Returns:
        The files that hold a graph, relative to `output`.

    Raises:
        BundleError: the folder holds something, or the bundle cannot be trusted.
        BackendError: the bundle has no backend with a format for test data.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise BundleError(f"{output}: exists and is not empty; choose another folder.")
    able = [name for name in bundle.manifest.backends if name in FORMATS]
    if not any("fp32" in bundle.manifest.precisions(name) for name in able):
        raise BackendError(
            f"{bundle.folder}: test data is for float32 graphs of {' and '.join(FORMATS)}, and "
            "the bundle has none; export again with one of them."
        )
    weights = BundleWeights(bundle)
    found: dict[str, list[DataSet]] = {}

    def sets_of(contract: GraphContract) -> list[DataSet]:
        # By its JSON: backends share a contract unless one of them is dynamic.
        key = contract.model_dump_json()
        if key not in found:
            progress(f"compute test data of {contract.name}")
            with one_thread():
                found[key] = data_sets(weights.graph(contract))
        return found[key]

    index = {}
    for name in able:
        for artifact in bundle.artifacts(name):
            sets = {contract.name: sets_of(contract) for contract in artifact.graphs}
            progress(f"write test data of {artifact.path}")
            path = FORMATS[name].write(output, artifact, bundle.read(artifact), sets)
            index[path] = {
                graph: [
                    {"case": data.case, "step": data.step, "tolerance": data.tolerance}
                    for data in chosen
                ]
                for graph, chosen in sets.items()
            }
    text = json.dumps({"weights_sha256": bundle.manifest.weights.sha256, "files": index}, indent=1)
    (output / INDEX).write_text(text + "\n", encoding="utf-8")
    return list(index)


def data_sets(graph: ExportGraph) -> list[DataSet]:
    """Return the data sets of a graph."""
    proof = Proof(graph)
    nearby = graph.nearby()
    eager, exact = graph.eager(torch.float32), graph.eager(torch.float64)
    longest = max(proof.cases, key=lambda case: len(proof.cases[case].steps))
    # A dynamic graph has each case at several lengths, which stand behind its name.
    stored = [case for case in proof.cases if case.startswith(graph.stored_cases)]
    found = []
    for case in [longest] if graph.contract.state else stored:
        for step, inputs in _calls(graph, proof.cases[case].steps):
            doubled = {n: t.double() if t.is_floating_point() else t for n, t in inputs.items()}
            rounded, outputs, *near = (
                eager(inputs),
                *(call(doubled) for call in (exact, *nearby)),
            )
            truths = {
                name: Truth(rounded[name][None], outputs[name][None], [n[name][None] for n in near])
                for name in outputs
            }
            found.append(
                DataSet(
                    case=case,
                    step=step,
                    inputs=inputs,
                    outputs={name: tensor.float() for name, tensor in outputs.items()},
                    tolerance={
                        name: max(truth.budgets(proof.yardstick(case, name)).max().item(), LEAST)
                        for name, truth in truths.items()
                    },
                )
            )
    return found


def _calls(graph: ExportGraph, steps: Sequence[Step]) -> list[tuple[int, Outputs]]:
    """Return some steps of a case, by number, with the inputs and the state of eager float32."""
    chosen = {round(i * (len(steps) - 1) / (STEPS - 1)) for i in range(STEPS)}
    eager = graph.eager(torch.float32)
    count = 0
    found = []

    def call(inputs: Tensors) -> Outputs:
        nonlocal count
        if count in chosen:
            found.append((count, dict(inputs)))
        count += 1
        return eager(inputs)

    run_case(graph.contract, call, steps, torch.float32)
    return found
