"""The graphs: an exportable module with static shapes, and its contract."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from deploy_bias.contract import BiasModule, DynamicSize, GraphContract, TensorSpec
from deploy_bias.errors import OptionError
from deploy_bias.positional_bias import RotaryRelativePositionBias
from export.checkpoint import Bias

Layout = Callable[[Tensor, int, int], Tensor]
"""One of the functions of `deploy_bias.toeplitz`; a backend takes the one it runs fastest."""


class BiasGraph(nn.Module):
    """scores + bias, for a fixed window of the bias.

    The values by offset are folded to a constant, so no sin, cos or parameter is left.

    Args:
        bias: the eager module.
        query_length: Q, 1 to key_length.
        key_length: K, 1 to the module's max_positions.
        layout: how the values by offset become a matrix.
    """

    diagonals: Tensor

    def __init__(self, bias: Bias, query_length: int, key_length: int, layout: Layout) -> None:
        super().__init__()
        self.query_length = query_length
        self.key_length = key_length
        self.layout = layout
        with torch.no_grad():
            self.register_buffer("diagonals", bias.diagonals(query_length, key_length).clone())

    def forward(self, scores: Tensor) -> Tensor:
        """(B, Q, K) float32 in, the same out."""
        return scores + self.layout(self.diagonals, self.query_length, self.key_length)


class DynamicBiasGraph(nn.Module):
    """scores + bias, for any window of the bias up to max_positions.

    Args:
        bias: the eager module.
        layout: how the values by offset become a matrix.
    """

    offsets: Tensor

    def __init__(self, bias: Bias, layout: Layout) -> None:
        super().__init__()
        self.max_positions = bias.max_positions
        self.layout = layout
        with torch.no_grad():
            self.register_buffer("offsets", bias.offsets().clone())

    def forward(self, scores: Tensor) -> Tensor:
        """(B, Q, K) float32 in, the same out; 1 <= Q <= K <= max_positions."""
        query_length, key_length = scores.shape[1], scores.shape[2]
        # narrow, not a slice: torch.export cannot prove that a symbolic slice is not clamped.
        start, length = self.max_positions - key_length, query_length + key_length - 1
        diagonals = self.offsets.narrow(0, start, length)
        return scores + self.layout(diagonals, query_length, key_length)


@dataclass(frozen=True)
class Graph:
    """A graph to export: its contract, and its module for a given layout."""

    contract: GraphContract
    bias: Bias
    batch: int
    query_length: int
    key_length: int
    dynamic: bool = False

    def module(self, layout: Layout) -> nn.Module:
        """Return the module to export, in eval mode."""
        if self.dynamic:
            return DynamicBiasGraph(self.bias, layout).eval()
        return BiasGraph(self.bias, self.query_length, self.key_length, layout).eval()

    def example_inputs(self) -> tuple[Tensor, ...]:
        """Return zeros in the shapes of the contract."""
        return (torch.zeros(self.batch, self.query_length, self.key_length),)


def bias_graphs(
    modules: dict[str, Bias],
    query_length: int | None,
    key_length: int | None,
    batch: int = 1,
    dynamic: bool = False,
) -> list[Graph]:
    """Make a graph `bias` of every module: `bias`, or `bias_0`, `bias_1`, ... if there are more.

    Args:
        modules: by the prefix of their parameters.
        query_length: Q; default key_length.
        key_length: K; default 256 or max_positions, whichever is less.
        batch: B.
        dynamic: Q and K are chosen at run time, up to max_positions.

    Raises:
        OptionError: a length is outside what a module supports.
    """
    for option, value in (
        ("batch", batch),
        ("key-length", key_length),
        ("query-length", query_length),
    ):
        if isinstance(value, bool) or not isinstance(value, int | None):
            raise OptionError(f"--{option} must be an int, got {value!r}.")
    if batch < 1:
        raise OptionError(f"--batch must be at least 1, got {batch}.")
    graphs = []
    for number, (prefix, bias) in enumerate(modules.items()):
        name = "bias" if len(modules) == 1 else f"bias_{number}"
        limit = bias.max_positions
        keys = min(256, limit) if key_length is None else key_length
        queries = keys if query_length is None else query_length
        _check("--key-length", keys, limit, f"max_positions of {prefix or 'the bias'}")
        _check("--query-length", queries, keys, "--key-length")
        shape: tuple[int | DynamicSize, ...] = (batch, queries, keys)
        if dynamic:
            shape = (
                batch,
                DynamicSize(name="query_length", maximum=limit),
                DynamicSize(name="key_length", maximum=limit),
            )
        contract = GraphContract(
            name=name,
            kind="bias",
            module=describe(bias, prefix),
            inputs=(TensorSpec(name="scores", dtype="float32", shape=shape),),
            outputs=(TensorSpec(name="biased_scores", dtype="float32", shape=shape),),
        )
        graphs.append(Graph(contract, bias, batch, queries, keys, dynamic))
    return graphs


def describe(bias: Bias, prefix: str) -> BiasModule:
    """Return what the contract says of an eager module."""
    rotary = isinstance(bias, RotaryRelativePositionBias)
    return BiasModule(
        type="RotaryRelativePositionBias" if rotary else "RelativePositionBias",
        weights=prefix,
        max_positions=bias.max_positions,
        size=bias.size if isinstance(bias, RotaryRelativePositionBias) else None,
    )


def _check(option: str, value: int, limit: int, limit_name: str) -> None:
    if not 1 <= value <= limit:
        raise OptionError(f"{option} must be 1 to {limit} ({limit_name}), got {value}.")
