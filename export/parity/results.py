"""What the parity gate found: by output and case, by graph and backend, and all of it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import isfinite
from typing import Any, Literal

from pydantic import TypeAdapter

from deploy_bias.bundle.manifest import Artifact
from deploy_bias.errors import MismatchError
from deploy_bias.export.parity.allowed import Deviation
from deploy_bias.export.sources.frames import SYNTHETIC

ProvenPrecision = Literal["fp32", "fp16", "bf16", "int8", "int4", "auto"]
"""What was proven is in: our own exports have no half precision, but files of others have."""


@dataclass(frozen=True)
class StageResult:
    """An output after one stage of its export, on the steps that the attribution ran.

    error: the largest distance to float64. problem: why the stage could not be run.
    """

    stage: str
    error: float
    passed: bool
    problem: str | None = None


@dataclass(frozen=True)
class Smallest:
    """The smallest case that still fails: its worst element, and the inputs of each step as text.

    Inputs that are zero throughout, and a state that is the initial one, are left out.
    """

    steps: int
    worst: dict[str, object]
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class WrongOperator:
    """The first operator of a module whose result leaves its budget.

    operator: of torch, as aten.gelu.default.
    within: what the backend made of it: its own operator, and whether a delegate took it.
    source: the line of the user's that calls it, as "model.py:12: y = gelu(x)", if one does.
    module: the module that it is in, as "encoder.act (GELU)".
    worst: the index of its largest error, and the values there.
    budget: how far off it may be.
    """

    operator: str
    within: str
    source: str
    module: str
    worst: dict[str, object]
    budget: float

    @property
    def why(self) -> str:
        """Where it is, in a line."""
        where = " in ".join(part for part in (self.module, self.source) if part)
        return f"{self.operator} ({self.within}){f', {where}' if where else ''}"


@dataclass(frozen=True)
class CaseResult:
    """One output on one case. Errors are absolute distances to float64, the largest of a step.

    error, budget: of the step that used most of its budget.
    decided: the share of the elements whose budget is a small part of the output.
    allowed: the name that allows what is past the budget, if it is.
    unsteady: by how much a second run on the same inputs gave something else, if it was made.
    eager_is_sound: whether eager is as near to float64 as rounding explains; nothing passes else.
    errors: of each step, to three digits.
    error_by_eager: `error` over the yardstick, of which `budget` is four times.
    worst: that step, the index of its largest error, and the values there.
    stages: the error after each stage of the export, in order; of the worst case of each output,
        if it failed or was asked for.
    smallest: what a failed case was shrunk to, likewise.
    wrong: the first wrong operator, of the worst case of each output that failed, if it was found.
    """

    case: str
    steps: int
    output: str
    error: float
    eager_error: float
    error_by_eager: float
    budget: float
    worst: dict[str, object]
    passed: bool
    decided: float = 1.0
    allowed: str | None = None
    unsteady: float = 0.0
    eager_is_sound: bool = True
    errors: tuple[float, ...] = ()
    stages: tuple[StageResult, ...] = ()
    smallest: Smallest | None = None
    wrong: WrongOperator | None = None

    @property
    def first_stage(self) -> str | None:
        """The first stage at which the error appears."""
        return next((found.stage for found in self.stages if not found.passed), None)

    @property
    def why(self) -> str:
        """The worst element, in a line."""
        if self.decided_nothing:
            return f"case {self.case!r}, {self.output}: {self.undecided}"
        at = self.worst
        line = (
            f"case {self.case!r}, step {at['step']}, {self.output}{at['index']}: got {at['got']}, "
            f"eager {at['eager']}, float64 {at['float64']}"
        )
        if not self.eager_is_sound:
            return f"{line}; {self.not_sound}"
        if self.first_stage is not None:
            line = f"{line}; first wrong in {self.first_stage}"
        return line if self.wrong is None else f"{line}; first wrong operator {self.wrong.why}"

    @property
    def decided_nothing(self) -> bool:
        """Whether it failed for that alone."""
        return not self.passed and self.eager_is_sound and self.error <= self.budget

    @property
    def undecided(self) -> str:
        """What a case that decided nothing means."""
        return (
            "decided nothing: rounding alone may move every element by more than 1 % of the "
            "output, so no fault would be seen"
        )

    @property
    def not_sound(self) -> str:
        """What an eager module that is not sound means."""
        return (
            f"eager itself is up to {self.eager_error:.2g} from float64, which no rounding "
            "explains: it and its reference are two functions"
        )


@dataclass(frozen=True)
class Agreement:
    """How many comparisons prefer the same label, and how far the outputs are from eager's.

    Attributes:
        frames: "recorded" or "synthetic".
        compared: all that were counted.
        agreed: those with the same label.
        distance: the root mean square distance by eager's root mean square, of the worst output:
            the furthest by its limit, or just the furthest.
        finite: whether every output is a finite number.
        required: the share that must agree, if any.
        limit: the distance that is allowed to that output; fp32 has none, its cases judge it.
        output: the name of that output.
    """

    frames: str
    compared: int
    agreed: int
    distance: float
    finite: bool
    required: float | None
    limit: float | None
    output: str

    @property
    def share(self) -> float:
        """The part that agreed."""
        return self.agreed / max(self.compared, 1)

    @property
    def percent(self) -> str:
        """The share as text, rounded down."""
        return f"{int(self.share * 1e4) / 100:.2f}%" if self.compared else "-"

    @property
    def passed(self) -> bool:
        """Whether all is finite, enough agreed, and nothing is too far off."""
        near = self.limit is None or self.distance <= self.limit
        # Of random frames a model may prefer blank for all.
        none = self.compared == 0 and self.frames == SYNTHETIC
        agree = self.required is None or none or self.share >= self.required
        return self.finite and near and agree

    @property
    def why(self) -> str:
        """What was found, in a line."""
        if not self.finite:
            return "the outputs hold NaN or infinity"
        if not self.compared and self.required is None:
            return f"{self.output} {self.distance:.2%} off, at most {self.limit or 0:.2%} allowed"
        required = "" if self.required is None else f", required {self.required:.0%}"
        allowed = "" if self.limit is None else f", at most {self.limit:.2%} allowed"
        return (
            f"prefers eager's label in {self.agreed:,} of {self.compared:,} comparisons on "
            f"{self.frames} frames, {self.percent}{required}; "
            f"{self.output} {self.distance:.2%} off{allowed}"
        )


@dataclass(frozen=True)
class GraphResult:
    """One graph on one backend.

    Attributes:
        problem: why it could not be checked, if so.
        hint: what may be meant, where it failed.
    """

    graph: str
    backend: str
    precision: ProvenPrecision
    artifact: str
    cases: tuple[CaseResult, ...]
    agreement: Agreement | None = None
    problem: str | None = None
    hint: str = ""

    @property
    def passed(self) -> bool:
        """Whether it was checked, and every case is within its budget and enough labels agree."""
        found = [case.passed for case in self.cases]
        if self.agreement is not None:
            found.append(self.agreement.passed)
        return self.problem is None and bool(found) and all(found)

    @property
    def why(self) -> str:
        """What went wrong, in a line."""
        if self.problem:
            line = self.problem
        elif self.worst is None or self.worst.passed:
            line = self.agreement.why if self.agreement else "no case was run"
        else:
            line = self.worst.why
        return f"{line}; {self.hint}" if self.hint else line

    @property
    def worst(self) -> CaseResult | None:
        """The case that used most of its budget, a failed one before all."""
        return max(self.cases, key=_badness, default=None)

    @property
    def worst_by_output(self) -> tuple[CaseResult, ...]:
        """The worst case of each output."""
        outputs = dict.fromkeys(case.output for case in self.cases)
        return tuple(
            max((case for case in self.cases if case.output == output), key=_badness)
            for output in outputs
        )


COSTS = {"path", "backend", "precision", "bytes", "operators"}
"""What a report tells of an artifact."""


def _badness(case: CaseResult) -> tuple[bool, float]:
    return (not case.passed, case.error_by_eager)


@dataclass(frozen=True)
class Report:
    """What `verify`, or one `assert_export_parity`, found.

    artifacts: of the bundle, for their sizes and operators.
    without: backends that were left out by name.
    refused: stress cases that a foreign module refuses, and was not run on.
    deviations: what was allowed by name.
    left_out: cases that the time was not enough for.
    """

    results: tuple[GraphResult, ...]
    artifacts: tuple[Artifact, ...] = ()
    without: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    deviations: tuple[Deviation, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether anything was checked, all of it passed, and no more was allowed than needed."""
        right = all(result.passed for result in self.results)
        return bool(self.results) and right and all(one.needed for one in self.deviations)

    @property
    def remarks(self) -> list[str]:
        """What a verdict does not tell, in lines."""
        lines = [one.why for one in self.deviations]
        if self.refused:
            lines.append(f"not run, for the module refuses it: {', '.join(self.refused)}")
        if self.left_out:
            lines.append(f"not run, for the time was over: {', '.join(self.left_out)}")
        for result in self.results:
            worst = max(result.cases, key=lambda case: case.unsteady, default=None)
            if worst is not None and worst.unsteady:
                lines.append(
                    f"{result.graph} on {result.backend}: not the same twice on the same inputs, "
                    f"{worst.output} of case {worst.case!r} differs by up to {worst.unsteady:.2g}"
                )
        return lines

    @classmethod
    def of_session(cls, comparisons: Sequence[Mapping[str, Any]], lost: Iterable[str]) -> "Report":
        """Return one report of all that a test session compared.

        Args:
            comparisons: what `to_dict` gave of each, and the "test" that it belongs to.
            lost: the workers whose comparisons did not arrive, which is a failure.
        """
        read = TypeAdapter(tuple[GraphResult, ...]).validate_python
        results = [
            replace(result, graph=f"{one['test']}: {result.graph}")
            for one in comparisons
            for result in read(one["results"])
        ]
        results += [
            GraphResult(worker, "any", "fp32", "", (), problem="not compared: the worker was lost")
            for worker in lost
        ]
        known = TypeAdapter(tuple[Deviation, ...]).validate_python
        return cls(
            tuple(results),
            refused=_names(comparisons, "refused"),
            deviations=tuple(one for c in comparisons for one in known(c["deviations"])),
            left_out=_names(comparisons, "left_out"),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, for a program."""
        content = {
            "passed": self.passed,
            "without": self.without,
            "refused": self.refused,
            "deviations": [asdict(one) for one in self.deviations],
            "left_out": self.left_out,
            "results": [{**asdict(result), "passed": result.passed} for result in self.results],
            "artifacts": [artifact.model_dump(include=COSTS) for artifact in self.artifacts],
        }
        standard: dict[str, Any] = _standard(content)
        return standard

    def to_json(self) -> str:
        """Return parity.json: the same for the same bundle and versions.

        The errors of each step are half of all that a report tells, and are left to `to_dict`.
        """
        content = self.to_dict()
        for result in content["results"]:
            result["cases"] = [
                {key: value for key, value in case.items() if key != "errors"}
                for case in result["cases"]
            ]
        return json.dumps(content, indent=1, allow_nan=False) + "\n"


def _names(comparisons: Sequence[Mapping[str, Any]], key: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for one in comparisons for name in one[key]))


class Mismatch(MismatchError):
    """An exported graph does not compute what the eager module does."""

    def __init__(self, report: Report) -> None:
        self.report = report
        failed = [result for result in report.results if not result.passed]
        super().__init__(
            "; ".join(
                f"{result.graph} on {result.backend}, {result.precision}: {result.why}"
                for result in failed
            )
        )


def _standard(content: Any) -> Any:
    """Infinity has no place in JSON: as text."""
    if isinstance(content, dict):
        return {key: _standard(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_standard(value) for value in content]
    return repr(content) if isinstance(content, float) and not isfinite(content) else content
