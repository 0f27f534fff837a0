"""What a graph must give on each case, and where what a backend gave went wrong."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import inf
from statistics import median
from time import monotonic
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from deploy_bias.bundle.contract import GraphContract
from deploy_bias.errors import OptionError
from deploy_bias.export.backends import Run
from deploy_bias.export.graph import DRAWS, MANY, Call, ExportGraph, Step
from deploy_bias.export.parity.allowed import Allowed
from deploy_bias.export.parity.judge import Truth, judge
from deploy_bias.export.parity.results import CaseResult, Smallest, StageResult
from deploy_bias.export.parity.shrink import describe, shrink
from deploy_bias.export.rollout import Outputs, run_case

ATTRIBUTED = 40
"""The steps that an attribution runs of a case that passed."""


STORED = "stored "
"""How the name of a case begins whose outputs a bundle holds."""

Stage = tuple[str, Run]


def call_of(contract: GraphContract, run: Run) -> Call:
    """Return a function of tensors in order as one of tensors by name."""

    def call(inputs: Mapping[str, Tensor]) -> Outputs:
        with torch.no_grad():
            given = run(*as_specified(contract, inputs))
        outputs = (given,) if isinstance(given, Tensor) else given
        return {spec.name: output for spec, output in zip(contract.outputs, outputs, strict=True)}

    return call


def as_specified(contract: GraphContract, inputs: Mapping[str, Tensor]) -> list[Tensor]:
    """Return the inputs in order, each in the dtype that the contract says."""
    return [inputs[spec.name].to(getattr(torch, spec.dtype)) for spec in contract.inputs]


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
        allow: what may be off all the same, by case or output.
        again: run everything twice and tell the bits that differ.
        seconds: after which no more cases, draws or smaller cases are tried.

    Attributes:
        left_out: the cases that the time was not enough for.
        refused: the cases that float64 refuses, though eager does not.
    """

    def __init__(
        self,
        graph: ExportGraph,
        stored: Iterable[tuple[str, list[Step], Outputs]] = (),
        seed: int = 0,
        allow: Mapping[str, Allowed] = MappingProxyType({}),
        again: bool = False,
        seconds: float = inf,
    ) -> None:
        self.allow = allow
        self.again = again
        self._end = monotonic() + seconds
        self.graph = graph
        self.contract = graph.contract
        self._eager = graph.eager(torch.float32)
        self._exact = graph.eager(torch.float64)
        self.cases: dict[str, Case] = {}
        self.left_out: tuple[str, ...] = ()
        self.refused: tuple[str, ...] = ()
        # Many draws: what a bundle allows elsewhere is not drawn again where something fails.
        kept = {name: Case(steps, self.truths(steps, more=True), of) for name, steps, of in stored}
        given = graph.cases(seed)
        # What must decide is always run, and first.
        for name in sorted(given, key=lambda name: name not in graph.deciding):
            if name in kept and _are_same(kept[name].steps, given[name]):
                self.cases[name] = Case(given[name], kept[name].truths)
            elif name in graph.deciding or not self.is_over:
                self._add(name, given[name])
            else:
                self.left_out += (name,)
        self._refined: set[str] = set()
        self._first: dict[str, Mapping[str, Truth]] = {}
        self.cases |= {f"{STORED}{name}": case for name, case in kept.items()}

    def _add(self, name: str, steps: Sequence[Step]) -> None:
        try:
            self.cases[name] = Case(steps, self.truths(steps))
        except Exception as error:  # as of a matrix that is singular but for rounding
            if not self.graph.deciding:
                raise
            if name in self.graph.deciding:
                raise OptionError(
                    f"case {name!r}: float64 of it fails where eager does not, {_line(error)}; say "
                    "with reference= what is right."
                ) from error
            self.refused += (name,)

    @property
    def is_over(self) -> bool:
        """Whether the time is over."""
        return monotonic() > self._end

    def yardstick(self, case: str, output: str) -> float:
        """Return eager's own error in units.

        Where the units are those of each element it is that of the case, or of the middle one of
        all cases; else the worst of all.
        """
        truths = [case.truths[output] for case in self.cases.values()]
        found = [truth.yardstick for truth in truths]
        if not truths[0].nearby:
            return max(found)
        return max(self.cases[case].truths[output].yardstick, median(found))

    def decided(self, output: str) -> dict[str, float]:
        """Return the share of an output that each case decides."""
        return {
            name: case.truths[output].decided(self.yardstick(name, output), self.graph.decisive)
            for name, case in self.cases.items()
        }

    def limits(self) -> dict[str, Tensor]:
        """Return how far each element may be from the output that is stored, float32.

        They are named GRAPH/CASE/OUTPUT as the outputs are. A budget is a distance to float64, and
        what is stored is itself off from that; rounding alone may make some elements infinite:
        they may be anything.
        """
        limits = {}
        for name, case in self.cases.items():
            for output, expected in (case.stored or {}).items():
                truth = case.truths[output]
                budgets = truth.budgets(self.yardstick(name, output))
                limit = (budgets + truth.distance(expected)).where(truth.comparable, torch.inf)
                key = f"{self.contract.name}/{name.removeprefix(STORED)}/{output}"
                limits[key] = torch.nextafter(limit.float(), torch.tensor(torch.inf))
        return limits

    def truths(self, steps: Sequence[Step], more: bool = False) -> dict[str, Truth]:
        """Return what each output must be over some steps."""
        eager = run_case(self.contract, self._eager, steps, torch.float32)
        # Made anew, so that what is random in them is the same in each call.
        draws = self.graph.nearby(range(MANY if more else DRAWS))
        exact, *nearby = (
            run_case(self.contract, call, steps, torch.float64) for call in (self._exact, *draws)
        )
        carried = bool(self.contract.state)
        return {
            name: Truth(
                eager[name],
                exact[name],
                [outputs[name] for outputs in nearby],
                carried,
                self.graph.grain,
            )
            for name in eager
        }

    def judge(self, call: Call) -> tuple[CaseResult, ...]:
        """Run every case on a backend and compare every output."""
        runs = {
            name: run_case(self.contract, call, case.steps, torch.float32)
            for name, case in self.cases.items()
        }
        self._refine(runs)
        shares = {output: self.decided(output) for output in self.outputs}
        results = []
        for name, case in self.cases.items():
            second = run_case(self.contract, call, case.steps, torch.float32) if self.again else {}
            for output in case.truths:
                judged = self._compare(name, output, runs[name])
                judged["passed"] &= self._decides(name, shares[output])
                if not judged["passed"]:
                    judged |= self._allowed(name, output, runs[name])
                if second:
                    judged["unsteady"] = _difference(second[output], runs[name][output])
                results.append(
                    CaseResult(case=name, steps=len(case.steps), output=output, **judged)
                )
        return tuple(results)

    def _allowed(self, name: str, output: str, got: Outputs) -> dict[str, Any]:
        """Return what changes of a failure that is allowed by name."""
        for key in (name, output):
            if (rule := self.allow.get(key)) is None:
                continue
            if rule.error is None:
                return {"passed": True, "allowed": key}
            scale = (self.yardstick(name, output), self.graph.relative_limit)
            truth = self.cases[name].truths[output]
            judged = judge(got[output], truth, *scale, allowed=rule.error)
            if judged["passed"]:
                return {**judged, "allowed": key}
        return {}

    @property
    def outputs(self) -> list[str]:
        """The names of the outputs."""
        return [spec.name for spec in self.contract.outputs]

    def _compare(self, name: str, output: str, got: Outputs) -> dict[str, Any]:
        case = self.cases[name]
        scale = (self.yardstick(name, output), self.graph.relative_limit)
        judged = judge(got[output], case.truths[output], *scale, decisive=self.graph.decisive)
        if case.stored is not None and judged["passed"]:
            # What other languages are tested against must be as right as what runs here.
            judged = judge(case.stored[output], case.truths[output], *scale)
        return judged

    def _refine(self, runs: Mapping[str, Outputs]) -> None:
        """Draw more where something failed: a few draws may be lucky, many are not.

        The worst case first, until one stays wrong: then there is no doubt left.
        """

        def badness(name: str) -> float:
            judged = [self._compare(name, output, runs[name]) for output in self.outputs]
            return max((one["error_by_eager"] for one in judged if not one["passed"]), default=0.0)

        failed = {name: bad for name in runs if (bad := badness(name))}
        for name in sorted(failed, key=lambda name: -failed[name]):
            if self.is_over:
                return
            if name not in self._refined and self.graph.nearby():
                self._refined.add(name)
                case = self.cases[name]
                with suppress(Exception):  # a draw may be refused: what was drawn before counts
                    self.cases[name] = replace(case, truths=self.truths(case.steps, more=True))
            if badness(name):
                return

    def _decides(self, name: str, shares: Mapping[str, float]) -> bool:
        if self.graph.deciding:
            return name not in self.graph.deciding or shares[name] > 0
        return any(shares.values())

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
        sound = part.truth.is_sound(self.graph.relative_limit)
        return StageResult("eager", part.truth.errors.max().item(), sound)

    def _after(self, stage: str, part: "_Part", call: Call) -> StageResult:
        try:
            judged = self._judge(part.case, part.output, part.steps, part.truth, call)
        except Exception as error:  # a stage may refuse to run
            return StageResult(stage, float("inf"), False, _line(error))
        return StageResult(stage, judged["error"], judged["passed"])

    def _judge(
        self, case: str, output: str, steps: Sequence[Step], truth: Truth, call: Call
    ) -> dict[str, Any]:
        got = run_case(self.contract, call, steps, torch.float32)[output]
        return judge(got, truth, self.yardstick(case, output), self.graph.relative_limit)

    def _part(self, result: CaseResult, call: Call) -> "_Part":
        """Return the first steps of a case that passed, and of another what it is shrunk to."""
        output, steps = result.output, self.cases[result.case].steps

        def judged(steps: Sequence[Step]) -> dict[str, Any]:
            return self._judge(result.case, output, steps, self.truths(steps)[output], call)

        def fails(steps: Sequence[Step]) -> bool:
            if self.is_over:
                return False
            try:
                return not judged(steps)["passed"]
            except Exception:  # other inputs may be refused: that is another failure
                return False

        step = result.worst.get("step", 0)
        assert isinstance(step, int)
        smallest = None
        if result.passed or result.decided_nothing:
            return _Part(
                result.case, output, steps[:ATTRIBUTED], self._begun(result.case)[output], None
            )
        if fails(steps[: step + 1]):  # and not only what the bundle stores of it
            steps = shrink(steps[: step + 1], fails)
            shown = tuple(describe(step) for step in steps)
            smallest = Smallest(len(steps), judged(steps)["worst"], shown)
        return _Part(result.case, output, steps, self.truths(steps)[output], smallest)

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

    case: str
    output: str
    steps: Sequence[Step]
    truth: Truth
    smallest: Smallest | None


def _are_same(one: Sequence[Step], two: Sequence[Step]) -> bool:
    return len(one) == len(two) and all(
        a.state == b.state
        and a.inputs.keys() == b.inputs.keys()
        and all(torch.equal(tensor, b.inputs[name]) for name, tensor in a.inputs.items())
        for a, b in zip(one, two, strict=True)
    )


def _difference(one: Tensor, two: Tensor) -> float:
    """Return the largest difference between two runs; infinite if one is no number."""
    same = (one == two) | (one.isnan() & two.isnan())
    if same.all():
        return 0.0
    distance = (one.double() - two.double()).abs()
    return torch.where(same, 0.0, distance.nan_to_num(torch.inf)).max().item()


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
