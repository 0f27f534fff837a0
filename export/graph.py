"""The graphs, one file a kind: its contract, its module to export, its references and cases."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from deploy_bias.bundle.contract import GraphContract

Layout = Callable[[Tensor, int, int], Tensor]
"""One of the functions of `deploy_bias.model.bias.toeplitz`; a backend takes the one it runs
fastest."""

Tensors = Mapping[str, Tensor]
Call = Callable[[Tensors], dict[str, Tensor]]
"""Inputs by name to outputs by name, state included in both."""


@dataclass(frozen=True)
class Step:
    """The inputs of one call; and what becomes of the state before it.

    An input that is state is carried, unless it is among the inputs: then it is that.

    - "continue": what the call before left.
    - "reset": the initial one.
    - "save": as "continue", and remembered.
    - "restore": what was remembered, so a hypothesis forks.
    """

    inputs: Tensors
    state: Literal["continue", "reset", "save", "restore"] = "continue"


DRAWS, MANY = 3, 16
"""Of what is rounded at random: at first, and where something failed, for a few may be lucky."""


class ExportGraph(ABC):
    """A graph to export and to prove.

    relative_limit: an eager module further from float64 than this part of the largest value is
        not rounded but wrong.
    decisive: an element is decided if its budget is at most this part of the output.
    """

    contract: GraphContract
    relative_limit: float
    decisive: float = 0.01
    float_layers: Mapping[str, str] = MappingProxyType({})
    """The `nn.Linear` of its module that the precision "auto" leaves in float32, and why."""
    stored_cases: tuple[str, ...]
    """The cases that a bundle holds as test vectors; none that forks or resets."""
    grain: torch.dtype | None = None
    """What outputs are rounded to, where that is coarser than their dtype."""
    undelegated: tuple[str, ...] = ()
    """Operators that ExecuTorch keeps from XNNPACK."""

    @abstractmethod
    def module(self, layout: Layout) -> nn.Module:
        """Return the module to export, in eval mode; it takes the inputs in order."""

    def weights(self) -> dict[str, Tensor]:
        """Return the tensors of the eager module, by their names in the checkpoint."""
        return {}

    @abstractmethod
    def example_inputs(self) -> tuple[Tensor, ...]:
        """Return inputs in the shapes of the contract."""

    @abstractmethod
    def eager(self, dtype: torch.dtype) -> Call:
        """Return what the graph must compute, float32 by the modules or float64."""

    @abstractmethod
    def cases(self, seed: int = 0) -> dict[str, list[Step]]:
        """Return what it is proven on, by name; the seed is of what is random."""

    def dynamic_shapes(self) -> Any:
        """Return the dynamic shapes of its inputs as torch.export takes them; or None."""
        return None

    def nearby(self, numbers: Sequence[int] = range(DRAWS)) -> list[Call]:
        """Return float64 rounded at random as float32 rounds, a draw for each number.

        None, if no case is so near to a singularity that rounding alone changes what comes out.
        """
        return []

    @property
    def deciding(self) -> tuple[str, ...]:
        """The cases of which each must decide something of each output; if none, any one must."""
        return ()
