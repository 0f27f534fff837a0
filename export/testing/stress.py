"""Inputs for any module that find what random normals miss, made like its example inputs.

Each case holds one magnitude, so that an error budget taken from its largest value is narrow for
all of it. Integers stay within the range that the example shows, or a given one.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Draw = Callable[[tuple[int, ...], int, torch.Generator], Tensor]
"""A shape, the number of the step and a generator to float32, about 1 in size."""
Range = tuple[int, int]


def _normal(shape: tuple[int, ...], step: int, generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator)


def _counter(shape: tuple[int, ...], step: int) -> Tensor:
    return (torch.arange(torch.Size(shape).numel()) + step).view(shape)


def _one_hot(shape: tuple[int, ...], step: int, generator: torch.Generator) -> Tensor:
    """One of each row, at another place in each."""
    size = shape[-1] if shape else 1
    rows = torch.arange(torch.Size(shape).numel() // max(1, size)) + step
    return torch.nn.functional.one_hot(rows % size, size).float().view(shape)


def _ramp(shape: tuple[int, ...], step: int, generator: torch.Generator) -> Tensor:
    """Each row from near zero to one, from another place: none is narrow and far from zero."""
    size = shape[-1] if shape else 1
    rows = torch.arange(torch.Size(shape).numel()).view(shape)
    return ((rows + rows // max(1, size) + step) % size + 1) / max(1, size)


DRAWS: dict[str, Draw] = {
    "normal": _normal,
    "zeros": lambda shape, *_: torch.zeros(shape),
    "ones": lambda shape, *_: torch.ones(shape),
    "a constant": lambda shape, step, _: torch.full(shape, 0.7 - 0.1 * step),
    "sign flips": lambda shape, step, _: 1.0 - 2.0 * (_counter(shape, step) % 2),
    "one-hot": _one_hot,
    "a ramp": _ramp,
    "repeated rows": lambda shape, _, generator: torch.randn(
        shape[-1:], generator=generator
    ).expand(shape),
    "large": lambda *arguments: 1e4 * _normal(*arguments),
    "tiny": lambda *arguments: 1e-20 * _normal(*arguments),
    "subnormal": lambda shape, *_: torch.full(shape, 1e-40),
}
OF_INTEGERS = ("normal", "zeros", "ones", "a ramp")
"""The least number, the greatest and counting stand for zeros, ones and a ramp."""


def stress_cases(
    example: Mapping[str, Tensor], ranges: Mapping[str, Range], steps: int, seed: int
) -> dict[str, list[dict[str, Tensor]]]:
    """Return the inputs of each step of each case, by name.

    Args:
        example: what they have the shape, the dtype and the root mean square of.
        ranges: least and greatest number of integers, by name; what the example shows if not here.
        steps: of a case.
        seed: of what is random.
    """
    floating = any(tensor.is_floating_point() for tensor in example.values())
    names = DRAWS if floating else OF_INTEGERS
    generator = torch.Generator().manual_seed(seed)
    return {
        case: [
            {
                name: make_like(tensor, case, step, generator, ranges.get(name))
                for name, tensor in example.items()
            }
            for step in range(steps)
        ]
        for case in names
    }


def make_like(
    example: Tensor, case: str, step: int, generator: torch.Generator, span: Range | None = None
) -> Tensor:
    """Return one tensor of a case."""
    shape = tuple(example.shape)
    if example.is_floating_point():
        drawn = DRAWS[case](shape, step, generator)
        return (drawn * (1.0 if case == "subnormal" else size_of(example))).to(example.dtype)
    if example.dtype == torch.bool:
        span = (0, 1)
    low, high = span or (int(example.min()), int(example.max()))
    drawn = _integers(example, case, step, generator, low, high)
    if (low, high) == (0, 1) and shape[-1:] > (1,):
        # What attention makes of a mask that hides all, also of the first row of a causal one, is
        # not specified: the first of each row stays.
        drawn[..., 0] = example[..., 0]
    return drawn


def _integers(
    example: Tensor, case: str, step: int, generator: torch.Generator, low: int, high: int
) -> Tensor:
    shape = tuple(example.shape)
    if case in ("zeros", "ones"):
        return torch.full(shape, low if case == "zeros" else high, dtype=example.dtype)
    if case in ("one-hot", "a ramp", "sign flips"):
        return (low + _counter(shape, step) % (high - low + 1)).to(example.dtype)
    return torch.randint(low, high + 1, shape, generator=generator).to(example.dtype)


def size_of(example: Tensor) -> float:
    """Return the root mean square of what is finite and not zero; 1 if nothing is."""
    counted = example[example.isfinite() & (example != 0)]
    return counted.double().square().mean().sqrt().item() if counted.numel() else 1.0
