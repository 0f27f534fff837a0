"""The first operator of a module that a backend, or a file, computes wrong.

Our own exports are made again, of a part of the module: for ONNX and TorchScript one that gives the
result of every operator. XNNPACK takes whole parts of a graph, so for ExecuTorch it is one prefix
of the graph after the other, each with one result; and so for what goes wrong only where nothing
else asks for a result, as a fused operator does.

A file is what it is: its own values between are looked for among the module's. What is equal to one
was right up to there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deploy_bias.export.parity.judge import Truth, judge
from deploy_bias.export.parity.proof import Proof
from deploy_bias.export.parity.results import CaseResult, WrongOperator
from deploy_bias.export.rollout import run_case
from deploy_bias.export.testing.artifacts import Value
from deploy_bias.export.testing.artifacts.matching import wide
from deploy_bias.export.testing.exported import export_module
from deploy_bias.export.testing.module_graph import ModuleGraph
from deploy_bias.export.testing.operators import OneCase, Operator, Operators

UNDELEGATED = {
    "executorch": "ExecuTorch's own kernel, which no delegate took",
    "onnx": "ONNX",
    "torchscript": "TorchScript",
}
"""What runs the operators that are in no delegate."""

FUSED = "right where every value is asked for, so the runtime's optimisation of the file is wrong"


@dataclass(frozen=True)
class Found:
    """A wrong operator, and its result on a backend."""

    operator: Operator
    result: CaseResult


class Attribution:
    """Finds the operator of a module that is wrong.

    Args:
        graph: of the module.
        proof: of it.
        result: of the case and the output that failed.
    """

    def __init__(self, graph: ModuleGraph, proof: Proof, result: CaseResult) -> None:
        self.operators = Operators(graph, _inputs_of(graph, proof, result))
        self.candidates = self.operators.before(result.output)

    def on(self, backend: str) -> WrongOperator | None:
        """Return the first that an export of ours computes wrong."""
        found = None
        if backend != "executorch":
            found = self._at_once(backend)
        found = found or self._by_prefixes(backend)
        if found is None:
            return None
        alone = self.operators.alone(found.operator.name)
        (result,), within = _run(alone, backend)
        if not _is_wrong(result):
            within += "; right alone, and wrong in its place"
        return _wrong(found.operator, within, asdict(found.result))

    def _at_once(self, backend: str) -> Found | None:
        """Return the first wrong operator of an export that gives every result."""
        results, _ = _run(self.operators.cut([one.name for one in self.candidates]), backend)
        pairs = zip(self.candidates, results, strict=True)
        return next((Found(one, result) for one, result in pairs if _is_wrong(result)), None)

    def _by_prefixes(self, backend: str) -> Found | None:
        """Return the first wrong operator, by prefixes of the graph, halving what is left."""
        known: dict[str, CaseResult] = {}

        def result(one: Operator) -> CaseResult:
            if one.name not in known:
                (known[one.name],), _ = _run(self.operators.cut([one.name]), backend)
            return known[one.name]

        line = self.candidates
        if not line or not _is_wrong(result(line[-1])):
            return None
        while True:
            right, wrong = -1, len(line) - 1
            while wrong - right > 1:
                middle = (right + wrong) // 2
                if _is_wrong(result(line[middle])):
                    wrong = middle
                else:
                    right = middle
            found = line[wrong]
            # What is before it in the row is right; what feeds it may be another branch.
            bad = [one for one in self.operators.fed(found.name) if _is_wrong(result(one))]
            if not bad:
                return Found(found, known[found.name])
            line = line[: line.index(bad[0]) + 1]

    def in_file(self, values: Sequence[Value], output: str) -> WrongOperator | None:
        """Return the first operator past the last one whose result is among the values of a file.

        Args:
            values: of the file, in order, on the inputs that went wrong.
            output: the file's name of the output.
        """
        if not self.candidates:
            return None  # an input or a constant, as it is
        part = self.operators.cut([one.name for one in self.candidates])
        if part.grain is not None:
            values = [replace(value, array=wide(value.array)) for value in values]
        proof = Proof(part)
        truths = list(proof.cases["example"].truths.values())
        equal = {
            (one.name, value.name)
            for one, truth in zip(self.candidates, truths, strict=True)
            for value in values
            if _equal(value.array, truth)
        }
        if (self.candidates[-1].name, output) in equal:
            return WrongOperator("not found", FUSED, "", "", {}, 0.0)
        wrong = _first_wrong(
            [(one.name, [f.name for f in self.operators.fed(one.name)]) for one in self.candidates],
            self.candidates[-1].name,
            {name for name, _ in equal},
        )
        theirs = _first_wrong(
            [(value.name, value.inputs) for value in values], output, {name for _, name in equal}
        )
        if wrong is None or theirs is None:
            return None
        number = next(i for i, one in enumerate(self.candidates) if one.name == wrong)
        value = next(value for value in values if value.name == theirs)
        truth = truths[number]
        shown = next(
            (
                torch.from_numpy(one.array)[None]
                for one in values[values.index(value) :]
                if _alike(one.array, truth)
            ),
            None,
        )
        judged = None if shown is None else judge(shown, truth, truth.yardstick, torch.inf)
        return _wrong(self.candidates[number], f"{value.operator} of the file", judged)


def _inputs_of(graph: ModuleGraph, proof: Proof, result: CaseResult) -> list[Tensor]:
    """Return the inputs of the worst step of a case in order, the state carried by eager."""
    fed: list[Mapping[str, Tensor]] = []
    eager = graph.eager(torch.float32)

    def call(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        fed.append(inputs)
        return eager(inputs)

    run_case(graph.contract, call, proof.cases[result.case].steps, torch.float32)
    step = result.worst["step"]
    assert isinstance(step, int)
    return [fed[step][spec.name] for spec in graph.contract.inputs]


def _run(part: OneCase, backend: str) -> tuple[tuple[CaseResult, ...], str]:
    """Export a part of a module, judge it, and tell what the backend made of its operators."""
    loaded, operators = export_module(part, backend)

    def call(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        arrays = loaded(**{name: tensor.numpy() for name, tensor in inputs.items()})
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    (found,) = operators.values()
    parts = [
        f"{', '.join(names)} of {where}"
        for names, where in (
            (found.delegated, "the XNNPACK delegate"),
            (found.undelegated, UNDELEGATED[backend]),
        )
        if names
    ]
    return Proof(part).judge(call), " and ".join(parts)


def _alike(array: np.ndarray, truth: Truth) -> bool:
    like = truth.eager[0].numpy()
    return (array.shape, array.dtype) == (like.shape, like.dtype)


def _equal(array: np.ndarray, truth: Truth) -> bool:
    if not _alike(array, truth):
        return False
    judged = judge(torch.from_numpy(array)[None], truth, truth.yardstick, torch.inf)
    return bool(judged["error"] <= judged["budget"])


def _is_wrong(result: CaseResult) -> bool:
    return not result.error <= result.budget


def _wrong(operator: Operator, within: str, judged: Mapping[str, Any] | None) -> WrongOperator:
    return WrongOperator(
        operator=operator.target,
        within=within,
        source=operator.source,
        module=operator.module,
        worst=judged["worst"] if judged else {},
        budget=judged["budget"] if judged else 0.0,
    )


def _first_wrong(
    row: Sequence[tuple[str, Sequence[str]]], last: str, right: set[str]
) -> str | None:
    """Return the first of a row that the last depends on and that nothing right depends on.

    Args:
        row: names in order, each with what it depends on.
        last: the name of what is wrong.
        right: the names of what is right by itself.
    """
    inputs = dict(row)
    needed, right = {last}, set(right) - {last}
    for name, fed in reversed(row):
        if name in needed:
            needed.update(fed)
    for name, fed in reversed(row):
        if name in right:
            right.update(fed)
    return next((name for name in inputs if name in needed - right), None)
