"""What float32 may do to a computation, shown in float64: Monte Carlo arithmetic.

The result of every operator is moved at random by up to a unit in the last place of float32, as
another kernel of the same operator may move it (Parker, Monte Carlo Arithmetic, 1997), and no more
than a good one needs: see `deploy_bias.export.numerics.operators`. So where a sum cancels, a step
is repeated or a division comes near to zero, it is seen how far apart two sound implementations may
be.

Matrix products and convolutions are moved by what their terms round to one by one, which is more
than a unit of a sum that cancels. Sums and means are added up in float32, one number after the
other, see `deploy_bias.export.numerics.summation`. Of equal numbers, which a sort puts in any
order, another is named in each draw.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from deploy_bias.export.graph import DRAWS, Call, Tensors
from deploy_bias.export.numerics import operators
from deploy_bias.export.numerics.norms import Norms
from deploy_bias.export.numerics.summation import UNIT, Summation, is_whole

LEAST = torch.finfo(torch.float32).tiny
TINY = 1e-300
EXPONENTS = (2, 0.5, 1, -1, 0)
"""Powers that are IEEE's operations."""


class Rounding(TorchDispatchMode):
    """In its context every operator on float64 tensors is rounded at random.

    Args:
        generator: of what is random.
        flush: take what float32 holds as a subnormal number for zero, as some processors do.
        grain: round as this dtype does, whatever a tensor says; and the weights, too.
    """

    def __init__(
        self, generator: torch.Generator, flush: bool, grain: torch.dtype | None = None
    ) -> None:
        super().__init__()
        self.grain = grain
        self.generator = generator
        self.flush = flush
        self.summation = Summation(self._between, flush)
        self.norms = Norms(self._between)
        self.of(torch.float32)

    def of(self, dtype: torch.dtype) -> "Rounding":
        """Round as another dtype does from now on."""
        self.dtype = self.grain or dtype
        self.unit = torch.finfo(self.dtype).eps
        # Kernels of half precision add in float32.
        self.summation.unit = self.norms.unit = min(self.unit, UNIT)
        return self

    def __enter__(self) -> "Rounding":
        # Attention in one fused operator would hide its parts.
        self._fused = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        torch.backends.mha.set_fastpath_enabled(self._fused)

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operator and move what it gives."""
        return self.run(func, args, kwargs or {})

    def run(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Run an operator on float64 tensors and move what it gives."""
        name = operators.name_of(func)
        if name in operators.UNORDERED:
            return self._in_any_order(func, args, kwargs)
        first = args[0] if args and isinstance(args[0], Tensor) else None
        if first is not None and first.dtype == torch.float64:
            if func in self.summation.operators:
                result = self.summation.operators[func](*args, **kwargs)
                return pytree.tree_map_only(Tensor, self._nearest, result)
            if name in operators.NORMS:
                normal, *rest = self.norms.run(name, args)
                return self.round(normal), *rest
        if name == "abs" and first is not None and first.dtype == torch.complex128:
            # By the squares, as kernels have it that know no hypot: below 1e-19 they vanish.
            return self._nearest(self.summation.norm(torch.view_as_real(first), 2, -1))
        result = func(*args, **kwargs)
        if func._schema.is_mutable:
            if isinstance(result, Tensor) and _is_moved(result):
                result.copy_(self._move(func, name, args, kwargs, result))
        elif all(value.alias_info is None for value in func._schema.returns):  # no view
            move = partial(self._move, func, name, args, kwargs)
            is_one = isinstance(result, Tensor)
            result = move(result) if is_one else pytree.tree_map_only(Tensor, move, result)
        return result

    def round(self, tensor: Tensor, units: float = 1) -> Tensor:
        """Return a tensor moved by up to some units in the last place."""
        return self._by(tensor, units * self.unit * tensor.abs()) if _is_moved(tensor) else tensor

    def _nearest(self, tensor: Tensor) -> Tensor:
        """Return a tensor moved by up to a unit, but for what the dtype holds."""
        if not _is_moved(tensor):
            return tensor
        held = tensor == tensor.to(_narrow(tensor, self.dtype)).to(tensor.dtype)
        return self.flushed(torch.where(held, tensor, self.round(tensor)))

    def _move(
        self, func: Any, name: str, args: Any, kwargs: Mapping[str, Any], result: Tensor
    ) -> Tensor:
        if not _is_moved(result):
            return result
        if name in operators.EXACT or kwargs.get("rounding_mode") is not None:
            return self.flushed(result)
        if name in operators.IEEE or (name == "pow" and args[-1] in EXPONENTS):
            return self._nearest(result)
        if name in operators.PRODUCTS:
            return self._product(func, name, args, kwargs, result)
        # Functions of half precision are computed in float32.
        distance = min(self.unit, UNIT) * self._units(func, name, args, kwargs, result)
        if self.unit > UNIT:
            distance = distance + self.unit * result.abs()
        return self._by(result, distance)

    def _units(
        self, func: Any, name: str, args: Any, kwargs: Mapping[str, Any], result: Tensor
    ) -> Any:
        """Return how far a result may be off, in units of 1."""
        size = result.abs()
        if name in operators.AVERAGES:
            terms = max(1.0, args[0].numel() / max(1, result.numel()))
            # Where between two numbers it looks is as exact as the number of the place.
            places: float = max(result.shape[2:], default=1) / 2 if "upsample" in name else 0
            average: Tensor = func(args[0].abs(), *args[1:], **kwargs).abs()
            return average * (1 + terms**0.5 + places)
        if name == "linalg_cross":  # differences of products
            dim = kwargs.get("dim", args[2] if len(args) > 2 else -1)
            return 2 * args[0].norm(dim=dim, keepdim=True) * args[1].norm(dim=dim, keepdim=True)
        if name in operators.WEIGHTED:
            # They may cancel: by the largest that is weighted. Where it looks is as above.
            largest = torch.where(args[0].isfinite(), args[0].abs(), 0.0).max()
            return largest * (2 + max(args[0].shape[2:]) / 2)
        if name == "_softmax":
            # The exponent has rounded too: by a unit of how far it is below the largest.
            return (operators.APPROXIMATION + size.clamp(min=LEAST).log().abs()) * size
        if torch.Tag.pointwise not in func.tags and name not in operators.ABSOLUTE:
            finite = torch.where(size.isfinite(), size, 0.0)
            return finite if not finite.numel() else finite.max() * 2
        units = operators.APPROXIMATION * size + operators.ABSOLUTE.get(name, 0)
        below = float(operators.BELOW_ZERO.get(name, 0))
        return units + torch.where(result < 0, below, 0.0) if below else units

    def _product(
        self, func: Any, name: str, args: Any, kwargs: Mapping[str, Any], result: Tensor
    ) -> Tensor:
        """Move a sum of products.

        The terms round each for itself, as a random walk, and so do the sums up to each: XNNPACK
        starts from the bias and adds term after term, every sum rounded. Of 256 terms and a bias
        of 6 it was off by 8e-6, 17 times what the result rounds to.
        """
        count = operators.PRODUCTS[name]
        factors, rest = args[:count], args[count:]
        # A mask of -inf rounds to itself.
        sizes = [None if a is None else torch.where(a.isfinite(), a.abs(), 0.0) for a in factors]
        if all(size is None or is_whole(size) for size in sizes) and is_whole(
            func(*sizes, *rest, **kwargs)
        ):
            return result  # whole numbers add up in any order
        spread = _root_of_squares(func, name, sizes, (*rest,), kwargs)
        terms = (
            args[1].numel() // result.shape[1]
            if name == "convolution"
            else args[count - 2].shape[-1]
        )
        # Kernels of half precision add in float32 and round once.
        sums = min(self.unit, UNIT) * (1 + terms**0.5 / 4) * spread
        addend = _addend(name, args, result)
        if self.unit > UNIT and addend is not None:
            sums = sums + self.unit * (result - addend).abs()  # before the bias is added, too
        return self._by(result, sums + self.unit * result.abs())

    def _in_any_order(self, func: Any, args: Any, kwargs: Mapping[str, Any]) -> Any:
        given = {
            argument.name: value
            for argument, value in zip(func._schema.arguments, args, strict=False)
        } | dict(kwargs)
        dim = given.get("dim", -1)
        x = args[0]
        dimless = all(argument.name != "dim" for argument in func._schema.arguments)
        if dimless or given.get("stable") or x.ndim == 0:
            return func(*args, **kwargs)
        order = torch.randperm(x.shape[dim], generator=self.generator)
        values, indices = func(x.index_select(dim, order), *args[1:], **kwargs)
        return values, order[indices]

    def _by(self, tensor: Tensor, distance: Tensor) -> Tensor:
        if self.dtype == torch.float16:
            info = torch.finfo(torch.float16)
            spacing = info.smallest_normal * info.eps  # of what is below the least normal number
            distance = torch.where(tensor == 0, 0.0, distance.clamp(min=spacing / 2))
        moved = tensor + distance * self._between(tensor.shape)
        if tensor.is_complex():
            moved = moved + 1j * distance * self._between(tensor.shape)
        # Infinity times zero is no number, and what is infinite is not moved.
        return self.flushed(torch.where(tensor.isfinite(), moved, tensor))

    def flushed(self, tensor: Tensor) -> Tensor:
        """Return a tensor without subnormal numbers, if they are taken for zero."""
        if not self.flush or tensor.dtype != torch.float64 or self.dtype == torch.float16:
            return tensor
        return torch.where(tensor.abs() < LEAST, 0.0, tensor)

    def _between(self, shape: Sequence[int]) -> Tensor:
        """Return uniform numbers between -1 and 1."""
        return torch.rand(shape, generator=self.generator, dtype=torch.float32).mul_(2).sub_(1)


def rounded(call: Call, numbers: Sequence[int] = range(DRAWS)) -> list[Call]:
    """Return a float64 function rounded at random, a draw for each number."""

    def draw(seed: int) -> Call:
        generator = torch.Generator().manual_seed(seed)

        def rounded(inputs: Tensors) -> dict[str, Tensor]:
            with Rounding(generator, flush=False):
                return call(inputs)

        return rounded

    return [draw(number) for number in numbers]


def _root_of_squares(
    func: Any, name: str, sizes: Sequence[Tensor | None], rest: Any, kwargs: Mapping[str, Any]
) -> Tensor:
    """Return the root of the sum of the squares of the terms of a sum of products.

    In float32, which is enough for it and five times as fast; so all are scaled to 1 at most.
    """
    first = 0 if len(sizes) == 2 or name == "convolution" else 1
    factors = [sizes[first], sizes[first + 1]]
    scales = [size.max().clamp(min=TINY) if size is not None else TINY for size in factors]
    addend = sizes[2 if first == 0 else 0] if len(sizes) == 3 else None
    whole = scales[0] * scales[1]
    if addend is not None and addend.numel():
        whole = torch.maximum(torch.as_tensor(whole), addend.max())
    whole = torch.as_tensor(whole).clamp(min=TINY)
    share = scales[0] * scales[1] / whole
    squares: list[Tensor | None] = [
        None if size is None else (size / scale * share**0.5).square().float()
        for size, scale in zip(factors, scales, strict=True)
    ]
    if len(sizes) == 3:
        added = None if addend is None else (addend / whole).square().float()
        squares.insert(2 if first == 0 else 0, added)
    with torch.backends.mkldnn.flags(enabled=True):
        total: Tensor = func(*squares, *rest, **kwargs)
    return total.double().sqrt() * whole


def _addend(name: str, args: Any, result: Tensor) -> Tensor | None:
    """Return what is added to a sum of products."""
    if operators.PRODUCTS[name] < 3:
        return None
    found: Tensor | None = args[2] if name == "convolution" else args[0]
    if found is None or name != "convolution":
        return found
    return found.view(-1, *[1] * (result.ndim - 2))


def _is_moved(tensor: Tensor) -> bool:
    return tensor.dtype in (torch.float64, torch.complex128)


def _narrow(tensor: Tensor, dtype: torch.dtype) -> torch.dtype:
    return torch.complex64 if tensor.is_complex() else dtype
