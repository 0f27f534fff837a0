"""Nested arguments and results of a module as a graph has them: tensors in a row, by name."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from deploy_bias.errors import OptionError

Inputs = Tensor | tuple[Any, ...] | Mapping[str, Any]
"""One tensor, positional arguments, or arguments by name; tensors may be nested in each."""
Structure = pytree.TreeSpec


class FlatModule(nn.Module):
    """A module, or function, that takes its tensors in order and gives a tuple."""

    def __init__(self, inner: Callable[..., Any], structure: Structure) -> None:
        super().__init__()
        self.inner = inner
        self.structure = structure

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Leaves of the arguments to leaves of the result."""
        return tuple(pytree.tree_leaves(self.nested(*tensors)))

    def nested(self, *tensors: Tensor) -> Any:
        """Return the result as the module gives it."""
        arguments, named = pytree.tree_unflatten(list(tensors), self.structure)
        return self.inner(*arguments, **named)


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
    """Return the tensors of a result by name.

    One tensor is `output`; of a tuple they are output_0, output_1; of a dict or a named tuple they
    have its names, with output_ before one that is an input's.

    Raises:
        OptionError: one is no tensor, or there is none.
    """
    leaves, _ = pytree.tree_flatten_with_path(result)
    tensors = {}
    for path, tensor in leaves:
        root = [] if path and not isinstance(path[0], pytree.SequenceKey) else ["output"]
        name = "_".join([*root, *map(_text, path)])
        name = f"output_{name}" if name in taken else name
        if not isinstance(tensor, Tensor):
            raise OptionError(f"the module's {name} must be a tensor, got {type(tensor).__name__}.")
        tensors[name] = tensor
    if not tensors:
        raise OptionError("the module returns nothing to compare; expected a tensor.")
    return tensors


def _parameters(module: nn.Module) -> list[str]:
    """Return the names of what `forward` takes by position; of *args a hundred."""
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
