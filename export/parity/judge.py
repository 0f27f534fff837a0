"""How far an output may be from float64, element by element.

All errors are distances to float64. The unit of an element is what rounding alone does to it, where
the graph can tell (`ExportGraph.nearby`): the largest of some draws, half a unit in its last place
at the least, and no less than is usual among the elements of its magnitude, for a few draws may be
lucky. So a mask of -1e9 does not widen the budget of what is about 1 beside it. Of a graph that
cannot tell, it is half a unit in the last place of the largest value.

The yardstick of a case is eager's own error in these units, the worst element, or that of the
middle one of all cases (one case alone it may round luckily). An element may be off by four times
that. Integers and flags are equal or wrong, where rounding does not change them.

Two things excuse nothing. An eager module that is off by more than `ExportGraph.relative_limit` of
the output, and far more than rounding explains, is not rounded but wrong. And an element whose
budget is more than 1 % of the output is not decided: what decides nothing was not compared.
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
        eager: as the module gives it.
        exact: float64.
        nearby: float64 rounded at random as the module's dtype rounds; or none.
        carried: whether a state carries on what is off at one step.
        grain: what values are rounded to, where that is coarser than eager's dtype. What is past
            its range is not compared.
    """

    eager: Tensor
    exact: Tensor
    nearby: Sequence[Tensor] = ()
    carried: bool = True
    grain: torch.dtype | None = None
    comparable: Tensor = field(init=False)
    """The elements that rounding cannot make infinite or NaN, or finite; nor change, of integers
    and flags."""
    unit: Tensor = field(init=False)
    """Of each element."""
    scale: Tensor = field(init=False)
    """What an element's error is a small or large part of: itself, or what is usual beside it."""
    errors: Tensor = field(init=False)
    """Of eager, of each element."""
    floor: float = field(init=False)
    """The least unit."""

    def __post_init__(self) -> None:
        size = self.exact.double().abs()
        size = torch.where(size.isfinite() & self.eager.isfinite(), size, 0.0)
        comparable, moved = self._moved()
        unit = torch.zeros_like(size)
        usual = size.max() if size.numel() else size.sum()
        floor = torch.finfo(torch.float32).tiny
        if self.eager.is_floating_point():
            info = torch.finfo(self.grain or self.eager.dtype)
            eps, tiny = info.eps, info.tiny
            if self.grain is not None:
                comparable = comparable & (size <= info.max)
            if info.dtype == "float16":  # its numbers below 6e-5 are as far apart as there
                floor = info.smallest_normal * eps / 2
            if self.nearby:
                unit = moved.maximum(size * eps / 2)
                unit = unit.maximum(_usual(unit, size))
                usual = size[size > 0].median() if size.any() else usual
            else:
                unit = (usual * eps / 2).clamp(min=tiny).expand(size.shape)
            if self.eager.dtype == torch.float64:
                unit = 2 * unit  # what it is compared with has rounded itself
        for name, value in {
            "comparable": comparable,
            "unit": unit.clamp(min=floor),
            "scale": size.maximum(usual),
            "floor": floor,
        }.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "errors", self.distance(self.eager))

    def _moved(self) -> tuple[Tensor, Tensor]:
        """Return the elements that can be compared, and how far rounding moves each."""
        exact = self.exact
        comparable = torch.ones(exact.shape, dtype=torch.bool)
        moved = torch.zeros(exact.shape, dtype=torch.float64)
        for near in self.nearby:
            if near.shape != exact.shape:
                continue  # its shape is another for rounding alone: see `ModuleGraph`
            if not near.is_floating_point():
                comparable &= near == exact
                continue
            comparable &= near.isfinite() == exact.isfinite()
            shift = (near - exact).abs()
            moved = moved.maximum(torch.where(near.isfinite() & exact.isfinite(), shift, 0.0))
        # What is off stays off: a state carries it on.
        return comparable, moved.cummax(0).values if self.carried and len(moved) else moved

    def distance(self, got: Tensor) -> Tensor:
        """Return the distance to float64 of each element.

        What is not finite must be so in the same places, with the same sign.
        """
        finite = self.exact.isfinite() & self.eager.isfinite()
        special = (got == self.eager) | (got.isnan() & self.eager.isnan())
        same = torch.where(finite, got.isfinite(), special) | ~self.comparable
        distance = (got.double() - self.exact.double()).abs()
        if not self.eager.is_floating_point():
            # float64 does not hold every integer.
            distance = torch.where(got == self.exact, 0.0, distance.clamp(min=1.0))
        distance = torch.where(finite & self.comparable, distance, 0.0)
        return torch.where(same, distance, torch.inf)

    @property
    def yardstick(self) -> float:
        """Eager's error in units, 1 at the least; integers have none."""
        if not self.eager.is_floating_point():
            return 1.0
        return max(1.0, _largest(self.errors / self.unit))

    def budgets(self, yardstick: float) -> Tensor:
        """Return how far each element may be off; no integer is.

        Below the least normal number the runtimes flush to zero, as the processors of phones do.
        """
        return BUDGET * yardstick * self.unit

    def decided(self, yardstick: float, decisive: float = DECISIVE) -> float:
        """Return the share of the elements whose budget is a small part of the output."""
        small = self.budgets(yardstick) <= (decisive * self.scale).clamp(min=BUDGET * self.floor)
        decided = small & self.comparable if self.eager.is_floating_point() else self.comparable
        return decided.double().mean().item() if decided.numel() else 1.0

    def is_sound(self, relative_limit: float) -> bool:
        """Whether eager is as near to float64 as rounding explains."""
        if not self.eager.is_floating_point():
            return not self.errors.any()
        allowed = (SENSITIVE * self.unit).maximum(relative_limit * self.scale)
        return bool((self.errors <= allowed).all())


def judge(
    got: Tensor,
    truth: Truth,
    yardstick: float,
    relative_limit: float,
    allowed: float = 0.0,
    decisive: float = DECISIVE,
) -> dict[str, Any]:
    """Compare an output of every step with float64; all of one shape.

    Args:
        got: what a backend gave.
        truth: what it must be.
        yardstick: eager's own error in units.
        relative_limit: see `ExportGraph`.
        allowed: how far an element may be off whatever its budget.
        decisive: the part of the output that a budget may be.

    Raises:
        RuntimeError: another shape or dtype.
    """
    eager, exact = truth.eager, truth.exact
    if got.shape != exact.shape or got.dtype != eager.dtype:
        raise RuntimeError(
            f"output is {got.dtype} {tuple(got.shape)}, expected {eager.dtype} {tuple(exact.shape)}"
        )
    sound = truth.is_sound(relative_limit)
    common = {"eager_is_sound": sound, "decided": truth.decided(yardstick, decisive)}
    if not got.numel():
        nothing = {"error": 0.0, "eager_error": 0.0, "error_by_eager": 0.0, "budget": 0.0}
        steps = (0.0,) * len(got)
        return common | nothing | {"worst": {}, "passed": True, "errors": steps}
    distance = truth.distance(got).reshape(len(got), -1)
    budgets = truth.budgets(yardstick).clamp(min=allowed).reshape(len(got), -1)
    # The worst element of a step is that which used most of its budget.
    places = (distance / budgets).argmax(1, keepdim=True)
    errors, limits = (of.gather(1, places).squeeze(1) for of in (distance, budgets))
    step = int((errors / limits).argmax())
    at = int(places[step])
    index = [int(i) for i in torch.unravel_index(torch.tensor(at), got.shape[1:])]
    error, budget = errors[step].item(), limits[step].item()
    return common | {
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
        "passed": error <= budget and sound,
        "errors": tuple(float(f"{value:.3g}") for value in errors.tolist()),
    }


def _usual(unit: Tensor, size: Tensor) -> Tensor:
    """Return the geometric mean of the units of each step's elements of a magnitude."""
    steps = torch.arange(len(size)).view(-1, *[1] * (size.ndim - 1)).expand(size.shape)
    _, exponent = torch.frexp(size)
    counts = (unit > 0) & (size > 0)
    if not counts.any():
        return unit
    groups = torch.stack([steps, exponent.div(2, rounding_mode="floor").to(steps.dtype)])
    _, number = groups[:, counts].unique(dim=1, return_inverse=True)
    total = torch.zeros(int(number.max()) + 1, dtype=torch.float64)
    sums = total.index_add(0, number, unit[counts].log())
    members = total.index_add(0, number, torch.ones_like(number, dtype=torch.float64))
    usual = torch.zeros_like(unit)
    usual[counts] = (sums / members).exp()[number]
    return usual


def _largest(tensor: Tensor) -> float:
    return tensor.max().item() if tensor.numel() else 0.0


def _text(value: Tensor) -> str:
    return repr(value.item())
