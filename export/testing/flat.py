"""Nested arguments and results of a module as a graph has them: tensors in a row, by name.

At the door of a graph a complex number is a pair of real ones along a last axis of 2, and bfloat16,
which numpy does not have, is float32.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from deploy_bias.errors import OptionError

Inputs = Tensor | tuple[Any, ...] | Mapping[str, Any]
"""One tensor, positional arguments, or arguments by name; tensors may be nested in each."""
Structure = pytree.TreeSpec


class Remembered(NamedTuple):
    """The result of a module that remembers, and its buffers after it."""

    result: Any
    buffers: dict[str, Tensor]


class FlatModule(nn.Module):
    """A module, or function, that takes its tensors in order and gives a tuple.

    Args:
        inner: the module or function.
        structure: how its arguments are nested.
        dtypes: of its arguments.
    """

    def __init__(
        self, inner: Callable[..., Any], structure: Structure, dtypes: Sequence[torch.dtype]
    ) -> None:
        super().__init__()
        self.inner = inner
        self.structure = structure
        self.dtypes = tuple(dtypes)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Leaves of the arguments to leaves of the result."""
        leaves = pytree.tree_leaves(self.nested(*tensors))
        return tuple(outside(leaf) for leaf in leaves if leaf is not None)

    def nested(self, *tensors: Tensor) -> Any:
        """Return the result as the module gives it."""
        given = [inside(x, dtype) for x, dtype in zip(tensors, self.dtypes, strict=True)]
        arguments, named = pytree.tree_unflatten(given, self.structure)
        return self.inner(*arguments, **named)


def outside(tensor: Tensor) -> Tensor:
    """Return a tensor of a module as its graph has it."""
    if tensor.is_complex():
        return torch.view_as_real(tensor.resolve_conj())
    return tensor.float() if tensor.dtype == torch.bfloat16 else tensor


def inside(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a tensor of a graph as its module takes it."""
    if dtype.is_complex:
        return torch.view_as_complex(tensor.contiguous())
    return tensor.bfloat16() if dtype == torch.bfloat16 else tensor


def flatten_inputs(
    module: nn.Module, given: Inputs, where: str
) -> tuple[dict[str, Tensor], Structure]:
    """Return the tensors of some arguments by name, and how they are nested.

    The names are those of the parameters of `forward`: x; windows_0, windows_1 of a list.

    Args:
        module: what takes them.
        given: the arguments.
        where: what they are, for errors.

    Raises:
        OptionError: one is no tensor, or there are more than the module takes.
    """
    given = (given,) if isinstance(given, Tensor) else given
    if not isinstance(given, tuple | Mapping):
        raise OptionError(
            f"{where}: expected a tensor, a tuple of arguments or arguments by name, got "
            f"{type(given).__name__}."
        )
    named = dict(given) if isinstance(given, Mapping) else {}
    leaves, structure = pytree.tree_flatten_with_path(((), named) if named else (given, {}))
    names = _parameters(module)
    tensors: dict[str, Tensor] = {}
    for (_, first, *rest), tensor in leaves:
        if isinstance(first, pytree.SequenceKey):
            if first.idx >= len(names):
                raise OptionError(f"{where}: forward takes {len(names)} arguments, got more.")
            root = names[first.idx]
        else:
            root = _text(first)
        name = "_".join([root, *map(_text, rest)])
        if not isinstance(tensor, Tensor):
            raise OptionError(
                f"{where}: {name} must be a tensor, got {type(tensor).__name__}; bind what is none "
                "in a module around this one."
            )
        # A copy: what a module does to its inputs is not done to the caller's.
        tensors[name] = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
    return tensors, structure


def flatten_outputs(result: Any, taken: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a result by name; what is None in it is none.

    One tensor is `output`; of a tuple they are output_0, output_1; of a dict or a named tuple they
    have its names, with output_ before one that is an input's.

    Raises:
        OptionError: one is no tensor, or there is none.
    """
    if isinstance(result, Remembered):
        after = {f"next_{name}": outside(tensor) for name, tensor in result.buffers.items()}
        return flatten_outputs(result.result, taken) | after
    leaves, _ = pytree.tree_flatten_with_path(result)
    tensors = {}
    for path, tensor in leaves:
        root = [] if path and not isinstance(path[0], pytree.SequenceKey) else ["output"]
        name = "_".join([*root, *map(_text, path)])
        name = f"output_{name}" if name in taken else name
        if tensor is None:
            continue
        if not isinstance(tensor, Tensor):
            raise OptionError(
                f"the module's {name} must be a tensor, got {type(tensor).__name__}; take it out, "
                "in a module around this one."
            )
        tensors[name] = outside(tensor)
    if not tensors:
        raise OptionError("the module returns nothing to compare; expected a tensor.")
    return tensors


def _parameters(module: nn.Module) -> list[str]:
    """Return the names of what `forward` takes by position; of *args a hundred."""
    if isinstance(module, torch.jit.ScriptModule):
        schema: Any = module.forward.schema  # type: ignore[attr-defined]
        return [argument.name for argument in schema.arguments[1:]]
    names = []
    for name, parameter in inspect.signature(module.forward).parameters.items():
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            names += [f"{name}_{number}" for number in range(100)]
        elif parameter.kind in (
            inspect.Parameter.POSITIONAL_ONLY,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
        ):
            names.append(name)
    return names


def _text(key: Any) -> str:
    for attribute in ("idx", "key", "name"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)
