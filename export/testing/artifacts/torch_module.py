"""What torch itself loads: called as the module is, with its nested arguments."""

import inspect
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from deploy_bias.export.testing.artifacts import File, Port, Values
from deploy_bias.export.testing.module_graph import ModuleGraph


def file_of(
    call: Callable[..., Any],
    graph: ModuleGraph,
    keywords: Collection[str] | None = None,
    watch: Callable[..., Values] | None = None,
) -> File:
    """Return what is called with the module's own arguments.

    Args:
        call: what takes and gives tensors.
        graph: of the module.
        keywords: the arguments that it takes by keyword; default those that the module must be
            given so. The others go by position, however the example gives them.
        watch: likewise, and returns every value of the run.
    """
    structure, inner = graph.eager_module.structure, graph.eager_module.inner
    signature = inspect.signature(getattr(inner, "forward", inner))

    def called(function: Callable[..., Any], arrays: Sequence[np.ndarray]) -> Any:
        tensors = [torch.from_numpy(array) for array in arrays]
        arguments, named = pytree.tree_unflatten(tensors, structure)
        bound = signature.bind(*arguments, **named)
        row, by_name = bound.args, bound.kwargs
        if keywords is not None:
            row = tuple(value for name, value in bound.arguments.items() if name not in keywords)
            by_name = {name: bound.arguments[name] for name in keywords}
        with torch.no_grad():
            return function(*row, **by_name)

    def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        leaves = pytree.tree_leaves(called(call, arrays))
        return [as_array(leaf) for leaf in leaves if leaf is not None]

    def values(arrays: Sequence[np.ndarray]) -> Values:
        found: Values = called(watch, arrays)  # type: ignore[arg-type]
        return found

    inputs = tuple(Port(spec.name) for spec in graph.contract.inputs)
    return File(inputs, None, run, in_order=True, values=None if watch is None else values)


def as_array(tensor: torch.Tensor) -> np.ndarray:
    """Return a copy of a tensor."""
    array: np.ndarray = tensor.detach().cpu().numpy().copy()
    return array
