"""What torch itself loads: called as the module is, with its nested arguments."""

import inspect
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from deploy_bias.export.testing.artifacts import File, Port
from deploy_bias.export.testing.module_graph import ModuleGraph


def file_of(
    call: Callable[..., Any], graph: ModuleGraph, keywords: Collection[str] | None = None
) -> File:
    """Return what is called with the module's own arguments.

    Args:
        call: what takes and gives tensors.
        graph: of the module.
        keywords: the arguments that it takes by keyword; default those that the module must be
            given so. The others go by position, however the example gives them.
    """
    structure, inner = graph.eager_module.structure, graph.eager_module.inner
    signature = inspect.signature(getattr(inner, "forward", inner))

    def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        tensors = [torch.from_numpy(array) for array in arrays]
        arguments, named = pytree.tree_unflatten(tensors, structure)
        bound = signature.bind(*arguments, **named)
        row, by_name = bound.args, bound.kwargs
        if keywords is not None:
            row = tuple(value for name, value in bound.arguments.items() if name not in keywords)
            by_name = {name: bound.arguments[name] for name in keywords}
        with torch.no_grad():
            leaves = pytree.tree_leaves(call(*row, **by_name))
        return [leaf.detach().cpu().numpy().copy() for leaf in leaves if leaf is not None]

    return File(tuple(Port(spec.name) for spec in graph.contract.inputs), None, run, in_order=True)
