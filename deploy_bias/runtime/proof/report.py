"""What was proven of a bundle, where, as values. No torch here."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from deploy_bias.bundle.contract import Precision
from deploy_bias.runtime.proof.machine import Machine


@dataclass(frozen=True)
class ProofRow:
    """One graph on one backend against the eager outputs that the bundle holds.

    measure: "elements", each within its limit; or "distance", the root mean square of each output.
    max_abs_error: the largest difference of any element; None is NaN or infinity.
    over_limit: the worst error over what is allowed there; at most 1 passes.
    compared, agreed: labels of the stored utterances; of the joint network alone.
    median_ms, percentile95_ms: of one call.
    problem: why it is wrong or could not be checked, with case, step and output.
    """

    graph: str
    backend: str
    precision: Precision
    measure: Literal["elements", "distance"]
    steps: int
    max_abs_error: float | None
    over_limit: float | None
    compared: int = 0
    agreed: int = 0
    median_ms: float = 0.0
    percentile95_ms: float = 0.0
    problem: str | None = None

    @property
    def passed(self) -> bool:
        """Whether it was checked and is right."""
        return self.problem is None


@dataclass(frozen=True)
class ProofReport:
    """What was proven, where.

    runtimes: version of each backend's package. providers: what ONNX Runtime was given.
    left_out: backends of the bundle that do not run here, and why.
    """

    rows: tuple[ProofRow, ...]
    machine: Machine
    runtimes: dict[str, str]
    providers: tuple[str, ...]
    exporter: dict[str, str]
    weights_sha256: str
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether anything was checked and all of it is right."""
        return bool(self.rows) and all(row.passed for row in self.rows)

    @property
    def why(self) -> str:
        """What is wrong, and where, in a line."""
        wrong = [
            f"{row.graph} on {row.backend} {self.runtimes[row.backend]}, {row.precision}: "
            f"{row.problem}"
            for row in self.rows
            if not row.passed
        ]
        given = f", providers {', '.join(self.providers)}" if self.providers else ""
        return f"{'; '.join(wrong)} ({self.machine}{given})"

    def to_dict(self) -> dict[str, Any]:
        """Return it for a program."""
        rows = [{**asdict(row), "passed": row.passed} for row in self.rows]
        return {"passed": self.passed, **asdict(self), "rows": rows}
