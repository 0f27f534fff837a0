"""Make a failing case small: fewer steps, then zeros."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from deploy_bias.export.graph import Step

MOST_STEPS = 300
"""That are run in all while a case is shrunk."""
SHOWN = 4

Fails = Callable[[Sequence[Step]], bool]


def shrink(steps: Sequence[Step], fails: Fails) -> Sequence[Step]:
    """Return the smallest case found that still fails.

    Args:
        steps: a case that fails.
        fails: whether a case fails; it is called for 300 steps at most, all calls together.
    """
    fails = _limited(fails)
    steps = _fewer(steps, fails)
    for number in range(len(steps)):
        for name in steps[number].inputs:
            steps = _simpler(steps, number, name, fails)
    return steps


def describe(step: Step) -> str:
    """Return the inputs of a step as text."""
    parts = [_show(name, tensor) for name, tensor in step.inputs.items()]
    return ", ".join(part for part in parts if part) or "all zero"


def _limited(fails: Fails) -> Fails:
    left = MOST_STEPS

    def limited(steps: Sequence[Step]) -> bool:
        nonlocal left
        left -= len(steps)
        return left >= 0 and fails(steps)

    return limited


def _fewer(steps: Sequence[Step], fails: Fails) -> Sequence[Step]:
    """Drop runs of steps, half of them first, then shorter ones, wherever they stand."""
    length = len(steps) // 2
    while length:
        start = 0
        while start < len(steps):
            fewer = [*steps[:start], *steps[start + length :]]
            if fewer and fails(fewer):
                steps = fewer
            else:
                start += length
        length //= 2
    return steps


def _simpler(steps: Sequence[Step], number: int, name: str, fails: Fails) -> Sequence[Step]:
    """Set runs of elements of one input to zero (integers to their least), likewise."""
    length = steps[number].inputs[name].numel()
    while length:
        tensor = steps[number].inputs[name]
        simple = 0 if tensor.is_floating_point() else tensor.min()
        for start in range(0, tensor.numel(), length):
            flat = steps[number].inputs[name].flatten().clone()
            if (flat[start : start + length] != simple).any():
                flat[start : start + length] = simple
                inputs = {**steps[number].inputs, name: flat.view(tensor.shape)}
                tried = [*steps]
                tried[number] = replace(steps[number], inputs=inputs)
                if fails(tried):
                    steps = tried
        length //= 2
    return steps


def _show(name: str, tensor: Tensor) -> str:
    places = tensor.nonzero()
    if not len(places):
        return ""
    values = ", ".join(
        f"{name}{place.tolist()} = {tensor[tuple(place)].item()!r}" for place in places[:SHOWN]
    )
    if len(places) <= SHOWN:
        return values
    finite = tensor[torch.isfinite(tensor)]
    span = f"{finite.min().item()!r} to {finite.max().item()!r}" if finite.numel() else "none"
    return f"{values}, ... ({len(places)} of {tensor.numel()} elements not zero; finite: {span})"
