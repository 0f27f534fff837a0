"""Deviations that are known and accepted by name, with the reason."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Allowed:
    """How far a case, or an output, may be off all the same.

    Args:
        error: the absolute distance to float64 that any element may have; None leaves the case or
            the output out of the verdict.
        because: why; it stands in every report.
    """

    error: float | None
    because: str


@dataclass(frozen=True)
class Deviation:
    """What was allowed by name, and whether anything needed it."""

    name: str
    error: float | None
    because: str
    needed: bool

    @property
    def why(self) -> str:
        """It in a line."""
        what = "left out" if self.error is None else f"off by up to {self.error:.2g}"
        line = f"allowed by name: {self.name} {what}, because {self.because}"
        return (
            line if self.needed else f"{line}; nothing needs that any more, take it out of allow="
        )
