"""What torch itself loads: called as the module is, with its nested arguments."""

import inspect
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from deploy_bias.export.parity.results import ProvenPrecision
from deploy_bias.export.testing.artifacts import File, Port, Values
from deploy_bias.export.testing.flat import inside, outside
from deploy_bias.export.testing.module_graph import ModuleGraph


def file_of(
    call: Callable[..., Any],
    graph: ModuleGraph,
    keywords: Collection[str] | None = None,
    watch: Callable[..., Values] | None = None,
    weights: Sequence[torch.Tensor] = (),
) -> File:
    """Return what is called with the module's own arguments.

    Args:
        call: what takes and gives tensors.
        graph: of the module.
        keywords: the arguments that it takes by keyword; default those that the module must be
            given so. The others go by position, however the example gives them.
        watch: likewise, and returns every value of the run.
        weights: that it holds, as far as they are known.
    """
    structure, inner = graph.eager_module.structure, graph.eager_module.inner
    dtypes = graph.eager_module.dtypes
    ways = [dtypes]
    if graph.grain is not None:  # what the file takes is not told: halves, or what the module does
        halves = [graph.grain if dtype == torch.float32 else dtype for dtype in dtypes]
        ways = [tuple(halves), dtypes]
    signature = inspect.signature(getattr(inner, "forward", inner))

    def called(function: Callable[..., Any], arrays: Sequence[np.ndarray]) -> Any:
        for dtypes in ways[:-1]:
            try:
                found = called_with(dtypes, function, arrays)
            except Exception:  # each kind of file has its own for a dtype
                ways.remove(dtypes)
            else:
                ways[:] = [dtypes]
                return found
        return called_with(ways[0], function, arrays)

    def called_with(
        dtypes: Sequence[torch.dtype], function: Callable[..., Any], arrays: Sequence[np.ndarray]
    ) -> Any:
        tensors = [
            inside(torch.from_numpy(array), dtype).to(dtype)
            for array, dtype in zip(arrays, dtypes, strict=True)
        ]
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
    return File(
        inputs,
        None,
        run,
        in_order=True,
        values=None if watch is None else values,
        precision=lambda: _precision(weights),
    )


def _precision(weights: Sequence[torch.Tensor]) -> ProvenPrecision | None:
    dtypes = {weight.dtype for weight in weights}
    if torch.float16 in dtypes:
        return "fp16"
    return "bf16" if torch.bfloat16 in dtypes else None


def as_array(tensor: torch.Tensor) -> np.ndarray:
    """Return a copy of a tensor, as its graph has it."""
    array: np.ndarray = outside(tensor.detach().cpu()).numpy().copy()
    return array
