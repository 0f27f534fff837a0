"""What a graph must give on each case, and where what a backend gave went wrong."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from deploy_bias.bundle.contract import GraphContract
from deploy_bias.export.backends import Run
from deploy_bias.export.graph import Call, ExportGraph, Step
from deploy_bias.export.parity.judge import Truth, judge
from deploy_bias.export.parity.results import CaseResult, Smallest, StageResult
from deploy_bias.export.parity.shrink import describe, shrink
from deploy_bias.export.rollout import Outputs, run_case

ATTRIBUTED = 40
"""The steps that an attribution runs of a case that passed."""


Stage = tuple[str, Run]


def call_of(contract: GraphContract, run: Run) -> Call:
    """Return a function of tensors in order as one of tensors by name."""

    def call(inputs: Mapping[str, Tensor]) -> Outputs:
        with torch.no_grad():
            given = run(*[inputs[spec.name] for spec in contract.inputs])
        outputs = (given,) if isinstance(given, Tensor) else given
        return {spec.name: output for spec, output in zip(contract.outputs, outputs, strict=True)}

    return call


@dataclass(frozen=True)
class Case:
    """The steps, what each output must be, and what the bundle holds of it, if anything."""

    steps: Sequence[Step]
    truths: Mapping[str, Truth]
    stored: Outputs | None = None


class Proof:
    """What one graph must give on each case, worked out once for all backends.

    Args:
        graph: what is exported.
        stored: more cases, with the outputs that a bundle tells other languages to expect.
        seed: of the random cases.
    """

    def __init__(
        self,
        graph: ExportGraph,
        stored: Iterable[tuple[str, list[Step], Outputs]] = (),
        seed: int = 0,
    ) -> None:
        self.graph = graph
        self.contract = graph.contract
        self._eager = graph.eager(torch.float32)
        self._exact = graph.eager(torch.float64)
        self.cases = {name: Case(s, self.truths(s)) for name, s in graph.cases(seed).items()}
        self._first: dict[str, Mapping[str, Truth]] = {}
        for name, steps, outputs in stored:
            self.cases[f"stored {name}"] = Case(steps, self.truths(steps), outputs)

    @cached_property
    def yardsticks(self) -> dict[str, float]:
        """Eager's own error in units, by output: the worst over the cases."""
        return {
            spec.name: max(case.truths[spec.name].yardstick for case in self.cases.values())
            for spec in self.contract.outputs
        }

    @cached_property
    def limits(self) -> dict[str, float]:
        """The relative limit of each output; below all errors if no case decides anything."""
        return {
            name: self.graph.relative_limit
            if any(case.truths[name].decisive(yardstick) for case in self.cases.values())
            else -1.0
            for name, yardstick in self.yardsticks.items()
        }

    def truths(self, steps: Sequence[Step]) -> dict[str, Truth]:
        """Return what each output must be over some steps."""
        eager = run_case(self.contract, self._eager, steps, torch.float32)
        exact, *nearby = (
            run_case(self.contract, call, steps, torch.float64)
            # Made anew, so that what is random in them is the same in each call.
            for call in (self._exact, *self.graph.nearby())
        )
        return {
            name: Truth(eager[name], exact[name], [outputs[name] for outputs in nearby])
            for name in eager
        }

    def judge(self, call: Call) -> tuple[CaseResult, ...]:
        """Run every case on a backend and compare every output."""
        results = []
        for name, case in self.cases.items():
            got = run_case(self.contract, call, case.steps, torch.float32)
            for output, truth in case.truths.items():
                scale = (self.yardsticks[output], self.limits[output])
                judged = judge(got[output], truth, *scale)
                if case.stored is not None and judged["passed"]:
                    # What other languages are tested against must be as right as what runs here.
                    judged = judge(case.stored[output], truth, *scale)
                results.append(
                    CaseResult(case=name, steps=len(case.steps), output=output, **judged)
                )
        return tuple(results)

    def explain(
        self, results: Sequence[CaseResult], call: Call, stages: Callable[[], Iterator[Stage]]
    ) -> tuple[CaseResult, ...]:
        """Return some results with their stages, and a failed case shrunk besides.

        Args:
            results: some of what `judge` returned.
            call: the backend.
            stages: makes the stages of the export, in order; the last is the backend itself.
        """
        parts = [self._part(result, call) for result in results]
        found = [[self._of_eager(part)] for part in parts]
        try:
            for name, run in stages():
                for part, list_of in zip(parts, found, strict=True):
                    list_of.append(self._after(name, part, call_of(self.contract, run)))
        except Exception as error:  # each exporter has its own; the stages before it count
            for list_of in found:
                list_of.append(StageResult("export", float("inf"), False, _line(error)))
        return tuple(
            replace(result, stages=tuple(list_of), smallest=part.smallest)
            for result, part, list_of in zip(results, parts, found, strict=True)
        )

    def _of_eager(self, part: "_Part") -> StageResult:
        sound = part.truth.is_sound(self.limits[part.output])
        return StageResult("eager", part.truth.errors.max().item(), sound)

    def _after(self, stage: str, part: "_Part", call: Call) -> StageResult:
        try:
            judged = self._judge(part.output, part.steps, part.truth, call)
        except Exception as error:  # a stage may refuse to run
            return StageResult(stage, float("inf"), False, _line(error))
        return StageResult(stage, judged["error"], judged["passed"])

    def _judge(
        self, output: str, steps: Sequence[Step], truth: Truth, call: Call
    ) -> dict[str, Any]:
        got = run_case(self.contract, call, steps, torch.float32)[output]
        return judge(got, truth, self.yardsticks[output], self.limits[output])

    def _part(self, result: CaseResult, call: Call) -> "_Part":
        """Return the first steps of a case that passed, and of another what it is shrunk to."""
        output, steps = result.output, self.cases[result.case].steps

        def judged(steps: Sequence[Step]) -> dict[str, Any]:
            return self._judge(output, steps, self.truths(steps)[output], call)

        def fails(steps: Sequence[Step]) -> bool:
            try:
                return not judged(steps)["passed"]
            except Exception:  # other inputs may be refused: that is another failure
                return False

        step = result.worst["step"]
        assert isinstance(step, int)
        smallest = None
        if result.passed:
            return _Part(output, steps[:ATTRIBUTED], self._begun(result.case)[output], None)
        if fails(steps[: step + 1]):  # and not only what the bundle stores of it
            steps = shrink(steps[: step + 1], fails)
            shown = tuple(describe(step) for step in steps)
            smallest = Smallest(len(steps), judged(steps)["worst"], shown)
        return _Part(output, steps, self.truths(steps)[output], smallest)

    def _begun(self, case: str) -> Mapping[str, Truth]:
        """Return what the first steps of a case must give: its outputs and backends share that."""
        whole = self.cases[case]
        if len(whole.steps) <= ATTRIBUTED:
            return whole.truths
        if case not in self._first:
            self._first[case] = self.truths(whole.steps[:ATTRIBUTED])
        return self._first[case]


@dataclass(frozen=True)
class _Part:
    """The steps that an attribution runs."""

    output: str
    steps: Sequence[Step]
    truth: Truth
    smallest: Smallest | None


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
