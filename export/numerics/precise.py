"""A module of any precision, computed in float64 though it never says so.

`module.double()` is another function: torch.zeros, plain tensors, softmax(dtype=...) and finfo of
the input's dtype keep what they say, or follow. Here every tensor says float32 (float16, bfloat16,
complex64) and holds float64 (complex128), so the module does what it does, only better.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from ctypes import c_float
from functools import reduce
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils.weak import WeakIdKeyDictionary

from deploy_bias.export.numerics.rounding import Rounding

HELD = {
    torch.float16: torch.float64,
    torch.bfloat16: torch.float64,
    torch.float32: torch.float64,
    torch.complex64: torch.complex128,
}
MADE = ("arange", "full", "linspace", "logspace", "scalar_tensor", "tensor")
"""What makes numbers of nothing: float32 holds the nearest."""


class Precise(Tensor):
    """A tensor that says one dtype and holds another, `held`."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor, dtype: torch.dtype) -> "Precise":
        """Make one of what it holds."""
        made: Precise = Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=dtype,
            device=held.device,
        )
        made.held = held
        return made

    def numpy(self, *, force: bool = False) -> Any:
        """Return what it says: what leaves torch leaves float64."""
        with _disable_current_modes():
            return self.held.to(self.dtype).numpy(force=force)

    def tolist(self) -> Any:
        """Return its numbers."""
        with _disable_current_modes():
            return self.held.tolist()

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run what is asked of it outside of a `Precision`, as a print."""
        return Precision().__torch_dispatch__(func, types, args, kwargs)


class Precision(TorchDispatchMode):
    """In its context all floating-point tensors hold float64.

    Args:
        rounding: what moves the result of every operator, if anything.

    Attributes:
        said: the dtypes that results said.
    """

    def __init__(self, rounding: Rounding | None = None) -> None:
        super().__init__()
        self.rounding = rounding
        self.said: set[torch.dtype] = set()
        self.known: WeakIdKeyDictionary = WeakIdKeyDictionary()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operator on what its arguments hold."""
        given: dict[int, Tensor] = {}
        says: list[Tensor] = []
        dtype = _says(func, args, kwargs or {}, says)

        def hold(value: Any) -> Any:
            if isinstance(value, Tensor):
                held = self.hold(value)
                given[id(held)] = value
                return held
            if isinstance(value, torch.dtype):
                return HELD.get(value, value)
            if isinstance(value, float) and dtype != torch.float64:
                return c_float(value).value  # what a kernel of float32 takes it for
            return value

        held = _each(hold, args)
        named = {name: _each(hold, value) for name, value in (kwargs or {}).items()}
        if func is torch.ops.aten.nan_to_num.default:
            held, named = held[:1], _limits_of(dtype, held[1:], named)
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            if self.rounding is None:
                result = func(*held, **named)
            else:
                result = self.rounding.of(dtype).run(func, held, named)
        finally:
            torch.set_default_dtype(before)

        def say(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            if id(value) in given and func._schema.is_mutable:
                return given[id(value)]
            if value.dtype not in (torch.float64, torch.complex128):
                return value
            as_it_says = _kind(dtype, value)
            if as_it_says not in HELD:
                return value
            self.said.add(as_it_says)
            if func._schema.name.rpartition("::")[2] in MADE:
                value = value.to(as_it_says).to(value.dtype)
            return Precise(value, as_it_says)

        return _each(say, result)

    def hold(self, tensor: Tensor) -> Tensor:
        """Return what a tensor holds; of a plain one a copy, the same each time."""
        if isinstance(tensor, Precise):
            return tensor.held
        if tensor.dtype not in HELD:
            return tensor
        if tensor not in self.known:
            held = tensor.detach().to(HELD[tensor.dtype])
            if self.rounding is not None and self.rounding.grain is not None:
                held = self.rounding.of(tensor.dtype).round(held)
            self.known[tensor] = held
        known: Tensor = self.known[tensor]
        return known

    def call(self, function: Callable[..., Any], *tensors: Tensor) -> Any:
        """Call a function of tensors that say their dtype; return what its results hold.

        Args:
            function: a module or function of plain torch.
            tensors: float64 for what says float32.
        """
        with _plain_attention(), _eager_control_flow(), torch.no_grad(), self:
            result = function(*tensors)
        return pytree.tree_map_only(Tensor, self.hold, result)


def _limits_of(dtype: torch.dtype, row: Any, named: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of nan_to_num, whose defaults are the limits of what a tensor says."""
    given = {**dict(zip(("nan", "posinf", "neginf"), row, strict=False)), **named}
    limit = torch.finfo(dtype).max
    for name, value in (("posinf", limit), ("neginf", -limit)):
        given[name] = value if given.get(name) is None else given[name]
    return given


def _each(function: Callable[[Any], Any], value: Any) -> Any:
    """Apply a function to each leaf: torch's pytree takes ten times as long."""
    if isinstance(value, list | tuple):
        leaves = [_each(function, one) for one in value]
        return tuple(leaves) if isinstance(value, tuple) else leaves
    return function(value)


def _kind(dtype: torch.dtype, value: Tensor) -> torch.dtype:
    if value.is_complex():
        return torch.complex128 if dtype == torch.float64 else torch.complex64
    return dtype


def _says(func: Any, args: Any, kwargs: Mapping[str, Any], says: list[Tensor]) -> torch.dtype:
    """Return the real dtype that the result of an operator would have."""
    dtype = None

    def see(value: Any) -> None:
        nonlocal dtype
        if isinstance(value, torch.dtype):
            dtype = dtype or value
        elif isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex()):
            says.append(value)

    for value in (args, *kwargs.values()):
        _each(see, value)
    if dtype is None:
        dtype = says[0].dtype if says else torch.get_default_dtype()
        if len(says) > 1 and torch.Tag.pointwise in func.tags and not func._schema.is_mutable:
            sized = [tensor for tensor in says if tensor.ndim] or says
            dtype = reduce(torch.promote_types, (tensor.dtype for tensor in sized))
    if dtype.is_complex:
        return torch.float64 if dtype == torch.complex128 else torch.float32
    return dtype if dtype.is_floating_point else torch.get_default_dtype()


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Let attention and recurrent layers be seen in their parts."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    with sdpa_kernel(SDPBackend.MATH), torch.backends.mkldnn.flags(enabled=False):
        try:
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)


@contextmanager
def _eager_control_flow() -> Iterator[None]:
    """Let torch.cond and torch.while_loop be Python's own: they would compile themselves."""

    def cond(pred: Any, true_fn: Any, false_fn: Any, operands: Any = ()) -> Any:
        return true_fn(*operands) if bool(pred) else false_fn(*operands)

    def while_loop(cond_fn: Any, body_fn: Any, carried: Any) -> Any:
        while bool(cond_fn(*carried)):
            carried = body_fn(*carried)
        return carried

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(torch, "cond", cond))
        stack.enter_context(mock.patch.object(torch, "while_loop", while_loop, create=True))
        higher = torch._higher_order_ops
        stack.enter_context(mock.patch.object(higher, "while_loop", while_loop))
        yield
