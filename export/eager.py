"""Eager graphs as the runtime takes graphs: to recognise speech with them."""

from collections.abc import Sequence

import numpy as np
import torch

from deploy_bias.bundle.contract import GraphContract
from deploy_bias.export.graph import Call
from deploy_bias.runtime import Graph


class _EagerSession:
    """Stands for a backend's session."""

    label: str | None = None

    def __init__(self, contract: GraphContract, call: Call) -> None:
        self._contract, self._call = contract, call

    def run(self, graph: str, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run the graph on inputs in the order of its contract."""
        contract = self._contract
        names = (spec.name for spec in contract.inputs)
        # Cloned, so aligned: where an array happens to lie in memory changes how eager rounds.
        tensors = {
            name: torch.from_numpy(array).clone() for name, array in zip(names, inputs, strict=True)
        }
        with torch.no_grad():
            outputs = self._call(tensors)
        return [outputs[spec.name].detach().numpy() for spec in contract.outputs]


def eager_graph(contract: GraphContract, call: Call, weights_sha256: str | None = None) -> Graph:
    """Return a graph that a function of tensors by name computes."""
    return Graph(contract, _EagerSession(contract, call), weights_sha256)
