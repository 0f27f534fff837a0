"""What is run on both processors: the stored cases of a bundle, and rollouts along its frames."""

from typing import Any

import numpy as np
import torch

from deploy_bias.bundle import Bundle
from deploy_bias.bundle.contract import Append, GraphContract, Replace, TensorSpec
from deploy_bias.export.graph import Step, Tensors
from deploy_bias.export.parity.vectors import stored_cases
from deploy_bias.export.rollout import run_case
from deploy_bias.export.sources.frames import RECORDED, SYNTHETIC

BACKENDS = ("onnx", "executorch")
LONG, PAIRS = 1000, 500
"""Steps of the longest rollout, and the pairs of frame and step that a rollout's labels are of."""

Arrays = dict[str, np.ndarray]


def make_plan(bundle: Bundle) -> tuple[list[dict[str, Any]], Arrays]:
    """Return the plan for `run.py`, and what is fed by GRAPH/CASE/NAME."""
    vectors = bundle.tensors(bundle.manifest.vectors)
    inputs: Arrays = {}
    artifacts = []
    for backend in bundle.manifest.backends:
        if backend not in BACKENDS:
            continue
        for precision in bundle.manifest.precisions(backend):
            graphs = []
            for artifact in bundle.artifacts(backend, precision):
                bundle.read(artifact)  # a changed file must not be run
                for contract in artifact.graphs:
                    graphs.append((artifact, contract))
            # The joint network is fed what the decoder gave.
            for artifact, contract in sorted(graphs, key=lambda pair: pair[1].kind == "joint"):
                cases = _cases(contract, vectors)
                for case, fed in cases.items():
                    inputs |= {f"{contract.name}/{case}/{leaf}": x for leaf, x in fed.items()}
                artifacts.append(
                    {
                        "path": str((bundle.folder / artifact.path).resolve()),
                        "backend": backend,
                        "precision": precision,
                        "graphs": [_described(contract, cases)],
                    }
                )
    return artifacts, inputs


def _described(contract: GraphContract, cases: dict[str, Arrays]) -> dict[str, Any]:
    carried = [rule for rule in contract.state if rule.update != "count"]
    specs = {spec.name: spec for spec in contract.inputs}
    return {
        "name": contract.name,
        "kind": contract.kind,
        "inputs": [spec.name for spec in contract.inputs],
        "outputs": [spec.name for spec in contract.outputs],
        "initial": {
            rule.input: (
                specs[rule.input].dtype,
                _shape(specs[rule.input]),
                getattr(rule, "initial", 0),
            )
            for rule in carried
        },
        "state": [
            (rule.input, _update(contract, rule), rule.output, getattr(rule, "row", None))
            for rule in carried
        ],
        "cases": {case: list(fed) for case, fed in cases.items()},
    }


def _cases(contract: GraphContract, vectors: Arrays) -> dict[str, Arrays]:
    """Return what is fed at each step by case, the counts of a state among it."""
    cases = {case: steps for case, steps, _ in stored_cases(contract, vectors)}
    rollouts = _rollouts(vectors)
    if contract.kind == "decoder":
        batch = _shape(contract.inputs[0])[0]
        for name, (labels, _) in rollouts.items():
            fed = torch.from_numpy(labels)[:, None, None].expand(-1, batch, 1)
            cases[name] = [Step({"label": label.clone()}) for label in fed]
    found = {case: _fed(contract, steps) for case, steps in cases.items()}
    if contract.kind == "joint":
        for name, (labels, frames) in rollouts.items():
            pairs = np.linspace(0, len(labels) * len(frames) - 1, PAIRS).astype(int)
            batch = _shape(contract.inputs[0])[0]
            met = frames[pairs % len(frames)][:, None].repeat(batch, 1)
            found[name] = {"encoder_out": met, "decoder_step": pairs // len(frames)}
    return found


def _rollouts(vectors: Arrays) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return labels and frames by name; one of all utterances in a row, and long, is among them."""
    keys = sorted(key.rpartition("/")[0] for key in vectors if key.endswith("/encoder_out"))
    found = {
        key.replace("/", " "): (vectors[f"{key}/label"], vectors[f"{key}/encoder_out"])
        for key in keys
        if key.startswith((f"{RECORDED}/", f"{SYNTHETIC}/"))
    }
    if found:
        labels, frames = (np.concatenate(parts) for parts in zip(*found.values(), strict=True))
        found["all, on and on"] = (np.resize(labels, LONG), frames)
    return found


def _update(contract: GraphContract, rule: Replace | Append) -> str:
    """Return how a state is made: "extend" where a step may add several rows."""
    several = {spec.name for spec in contract.outputs if spec.rows is not None}
    return "extend" if rule.output in several else rule.update


def _fed(contract: GraphContract, steps: list[Step]) -> Arrays:
    counts = [rule.input for rule in contract.state if rule.update == "count"]
    seen: list[Tensors] = []
    blank = {spec.name: torch.zeros(_shape(spec)) for spec in contract.outputs}

    def call(inputs: Tensors) -> dict[str, torch.Tensor]:
        seen.append({name: inputs[name] for name in (*steps[0].inputs, *counts)})
        return blank

    if contract.state:
        run_case(contract, call, steps, torch.float32)
    else:
        seen = [step.inputs for step in steps]
    fed = {name: np.stack([one[name].numpy() for one in seen]) for name in seen[0]}
    rows = contract.outputs[0].rows
    if rows is not None:
        fed["rows"] = np.array([rows.count(int(n)) for n in fed[rows.input].flat])
    return fed


def _shape(spec: TensorSpec) -> list[int]:
    return [size for size in spec.shape if isinstance(size, int)]
