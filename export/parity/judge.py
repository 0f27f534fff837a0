"""How far an output may be from float64.

All errors are distances to float64. The unit of a case is what rounding alone does to the output,
where the graph can tell (`ExportGraph.nearby`), step by step; half a unit in the last place of the
largest value at the least. The yardstick of an output is eager float32's own
error in these units, the worst over all cases (one case alone it may round luckily). A graph may
be off by four times that.

Two things excuse nothing. An eager module that is off by more than `ExportGraph.relative_limit` of
the
largest value, and far more than rounding explains, is not rounded but wrong. And where no case of
an output has a budget below 1 % of the output, nothing was compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

BUDGET = 4.0
DECISIVE = 0.01
SENSITIVE = 100.0
"""Eager's error by what rounding alone does, past which it is wrong."""


@dataclass(frozen=True)
class Truth:
    """What one output must be on one case; the steps are along the first axis.

    Args:
        eager: float32.
        exact: float64.
        nearby: float64 rounded at random as float32 rounds; or none.
    """

    eager: Tensor
    exact: Tensor
    nearby: Sequence[Tensor] = ()
    decides: Tensor = field(init=False)
    """The elements that rounding cannot make infinite or NaN, or finite; nor change, of integers
    and flags, which are equal or wrong."""
    largest: float = field(init=False)
    unit: Tensor = field(init=False)
    """Of each step."""
    moved: Tensor = field(init=False)
    """What rounding moves at each step."""
    errors: Tensor = field(init=False)
    """Of eager at each step."""

    def __post_init__(self) -> None:
        exact, steps = self.exact.double(), len(self.exact)
        decides = torch.ones_like(exact, dtype=torch.bool)
        moved = torch.zeros(steps, dtype=torch.float64)
        for near in self.nearby:
            if not near.is_floating_point():
                decides &= near == self.exact
                continue
            decides &= near.isfinite() == exact.isfinite()
            shift = torch.where(near.isfinite() & exact.isfinite(), (near - exact).abs(), 0.0)
            moved = moved.maximum(shift.reshape(steps, -1).amax(1))
        finite = exact.isfinite() & self.eager.isfinite()
        tiny, eps = torch.finfo(torch.float32).tiny, torch.finfo(torch.float32).eps
        largest = max(torch.where(finite, exact.abs(), 0.0).max().item(), tiny)
        # What is off stays off: a state carries it on.
        moved = moved.cummax(0).values
        for name, value in {
            "decides": decides,
            "largest": largest,
            "moved": moved,
            "unit": moved.clamp(min=largest * eps / 2),
        }.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "errors", self.distance(self.eager).reshape(steps, -1).amax(1))

    def distance(self, got: Tensor) -> Tensor:
        """Return the distance to float64 of each element.

        What is not finite must be so in the same places, with the same sign.
        """
        finite = self.exact.isfinite() & self.eager.isfinite()
        special = (got == self.eager) | (got.isnan() & self.eager.isnan())
        same = torch.where(finite, got.isfinite(), special) | ~self.decides
        counts = finite & self.decides
        distance = torch.where(counts, (got.double() - self.exact.double()).abs(), 0.0)
        return torch.where(same, distance, torch.inf)

    @property
    def yardstick(self) -> float:
        """Eager's error in units, 1 at the least."""
        return max(1.0, (self.errors / self.unit).max().item())

    def decisive(self, yardstick: float) -> bool:
        """Whether the budget of the first step is a small part of the output."""
        return BUDGET * yardstick * self.unit[0].item() <= DECISIVE * self.largest

    def is_sound(self, relative_limit: float) -> bool:
        """Whether eager is as near to float64 as rounding explains."""
        allowed = (SENSITIVE * self.moved).clamp(min=relative_limit * self.largest)
        return bool((self.errors <= allowed).all())


def judge(got: Tensor, truth: Truth, yardstick: float, relative_limit: float) -> dict[str, Any]:
    """Compare an output of every step with float64; all of one shape.

    Args:
        got: what a backend gave.
        truth: what it must be.
        yardstick: eager's own error in units.
        relative_limit: see `ExportGraph`.

    Raises:
        RuntimeError: another shape or dtype.
    """
    eager, exact = truth.eager, truth.exact
    if got.shape != exact.shape or got.dtype != eager.dtype:
        raise RuntimeError(
            f"output is {got.dtype} {tuple(got.shape)}, expected {eager.dtype} {tuple(exact.shape)}"
        )
    distance = truth.distance(got).reshape(len(got), -1)
    errors = distance.amax(1)
    # Below the least normal number the runtimes flush to zero, as the processors of phones do.
    budgets = (BUDGET * yardstick * truth.unit).clamp(min=torch.finfo(torch.float32).tiny)
    sound = truth.is_sound(relative_limit)
    step = int((errors / budgets).argmax())
    at = int(distance[step].argmax())
    index = [int(i) for i in torch.unravel_index(torch.tensor(at), got.shape[1:])]
    error, budget = errors[step].item(), budgets[step].item()
    return {
        "error": error,
        "eager_error": truth.errors.max().item(),
        "error_by_eager": BUDGET * error / budget,
        "budget": budget,
        "worst": {
            "step": step,
            "index": index,
            "got": _text(got[step].flatten()[at]),
            "eager": _text(eager[step].flatten()[at]),
            "float64": _text(exact[step].flatten()[at]),
        },
        "eager_is_sound": sound,
        "passed": error <= budget and sound,
        "errors": tuple(float(f"{value:.3g}") for value in errors.tolist()),
    }


def _text(value: Tensor) -> str:
    return repr(value.item())
