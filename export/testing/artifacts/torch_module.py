"""What torch itself loads: called as the module is, with its nested arguments."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from deploy_bias.export.testing.artifacts import File, Port
from deploy_bias.export.testing.module_graph import ModuleGraph


def file_of(call: Callable[..., Any], graph: ModuleGraph) -> File:
    """Return what is called with the module's own arguments."""
    structure = graph.eager_module.structure

    def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        tensors = [torch.from_numpy(array) for array in arrays]
        arguments, named = pytree.tree_unflatten(tensors, structure)
        with torch.no_grad():
            leaves = pytree.tree_leaves(call(*arguments, **named))
        return [leaf.detach().cpu().numpy().copy() for leaf in leaves if leaf is not None]

    return File(tuple(Port(spec.name) for spec in graph.contract.inputs), None, run, in_order=True)
