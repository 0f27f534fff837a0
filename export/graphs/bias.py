"""The graph `bias`: attention scores in, scores plus bias out."""

from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor, nn

from deploy_bias.bundle.contract import DynamicSize, GraphContract, ModuleSpec, TensorSpec
from deploy_bias.errors import OptionError
from deploy_bias.export.graph import Call, ExportGraph, Layout, Step, Tensors
from deploy_bias.export.graphs.bias_cases import score_cases
from deploy_bias.export.options import ExportOptions
from deploy_bias.export.sources.source import Bias
from deploy_bias.export.sources.state_dict import build, named_weights
from deploy_bias.model.bias.positional_bias import RelativePositionBias, RotaryRelativePositionBias

MODULES: dict[str, type[Bias]] = {
    "RelativePositionBias": RelativePositionBias,
    "RotaryRelativePositionBias": RotaryRelativePositionBias,
}
LENGTH = 256
"""Keys of the scores, where nothing else is asked for."""


class WindowModule(nn.Module):
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


class DynamicWindowModule(nn.Module):
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


class BiasGraph(ExportGraph):
    """scores + the bias of one block.

    Args:
        bias: the eager module.
        contract: made by `bias_graphs`.
    """

    relative_limit = 1e-6
    stored_cases = ("real", "normal")
    # ExecuTorch makes a reshape free, XNNPACK would copy: for 2048 x 2048 3.8 against 4.9 ms.
    undelegated = ("view_copy.default",)

    def __init__(self, bias: Bias, contract: GraphContract) -> None:
        self.bias = bias
        self.contract = contract
        _, *lengths = contract.inputs[0].shape
        self._dynamic = any(isinstance(size, DynamicSize) for size in lengths)

    @classmethod
    def of(cls, contract: GraphContract, weights: Mapping[str, Tensor], where: str) -> Self:
        """Make the graph of a contract.

        Raises:
            SourceError: the weights do not fit it.
        """
        spec = contract.module
        bias: Bias = build(MODULES[spec.type], spec, spec.type, weights, where)
        return cls(bias, contract)

    def weights(self) -> dict[str, Tensor]:
        """Return the parameters of the bias."""
        return named_weights(self.contract.module.weights, self.bias)

    def module(self, layout: Layout) -> nn.Module:
        """Return scores + bias for the window of the contract, or for any."""
        if self._dynamic:
            return DynamicWindowModule(self.bias, layout).eval()
        _, queries, keys = self._shapes()[0]
        return WindowModule(self.bias, queries, keys, layout).eval()

    def example_inputs(self) -> tuple[Tensor, ...]:
        """Return zeros, of the longest window if it is dynamic."""
        return (torch.zeros(self._shapes()[-1]),)

    def eager(self, dtype: torch.dtype) -> Call:
        """Return the eager module's window, or the definition in float64."""
        compute = eager_float32 if dtype == torch.float32 else exact_float64

        def call(inputs: Tensors) -> dict[str, Tensor]:
            return {"biased_scores": compute(self.bias, inputs["scores"])}

        return call

    def cases(self, seed: int = 0) -> dict[str, list[Step]]:
        """Return every score case; for a dynamic graph at each of a few windows."""
        return {
            f"{name} {shape[1]}x{shape[2]}" if self._dynamic else name: [
                Step({"scores": make(shape)})
            ]
            for shape in self._shapes()
            for name, make in score_cases(seed).items()
        }

    def _shapes(self) -> list[tuple[int, int, int]]:
        """Return the shape of a static graph; for a dynamic one, the borders and some between."""
        batch, queries, keys = self.contract.inputs[0].shape
        assert isinstance(batch, int)
        if not isinstance(keys, DynamicSize) or not isinstance(queries, DynamicSize):
            assert isinstance(queries, int)
            assert isinstance(keys, int)
            return [(batch, queries, keys)]
        longest = keys.maximum
        middle = max(1, longest // 2)
        windows = [(1, 1), (1, longest), (min(2, longest), min(3, longest)), (middle, longest)]
        windows += [(middle, middle), (longest, longest)]
        return [(batch, q, k) for q, k in dict.fromkeys(windows)]


def bias_graphs(
    modules: Mapping[str, Bias], options: ExportOptions, dynamic: bool
) -> list[BiasGraph]:
    """Make a graph `bias` of every module: `bias`, or `bias_0`, `bias_1`, ... if there are more.

    Args:
        modules: by the prefix of their parameters.
        options: of the export.
        dynamic: the lengths are chosen at run time, up to max_positions.

    Raises:
        OptionError: a length is outside what a module supports.
    """
    graphs = []
    for number, (prefix, bias) in enumerate(modules.items()):
        name = "bias" if len(modules) == 1 else f"bias_{number}"
        limit = bias.max_positions
        keys = min(LENGTH, limit) if options.key_length is None else options.key_length
        queries = keys if options.query_length is None else options.query_length
        _check("--key-length", keys, limit, f"max_positions of {prefix or 'the bias'}")
        _check("--query-length", queries, keys, "--key-length")
        shape: tuple[int | DynamicSize, ...] = (options.batch, queries, keys)
        if dynamic:
            shape = (
                options.batch,
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
        graphs.append(BiasGraph(bias, contract))
    return graphs


def describe(bias: Bias, prefix: str) -> ModuleSpec:
    """Return what the contract says of an eager module."""
    options = {"max_positions": bias.max_positions}
    if isinstance(bias, RotaryRelativePositionBias):
        options["size"] = bias.size
    return ModuleSpec(type=type(bias).__name__, weights=prefix, options=options)


def _check(option: str, value: int, limit: int, limit_name: str) -> None:
    if not 1 <= value <= limit:
        raise OptionError(f"{option} must be 1 to {limit} ({limit_name}), got {value}.")


def eager_float32(bias: Bias, scores: Tensor) -> Tensor:
    """scores + the eager module's window; (B, Q, K) float32."""
    with torch.inference_mode():
        return scores + bias.window(scores.shape[1], scores.shape[2])


def exact_float64(bias: Bias, scores: Tensor) -> Tensor:
    """scores + the bias by its definition; (B, Q, K) float64."""
    queries, keys = scores.shape[1], scores.shape[2]
    key = torch.arange(keys)
    query = key[keys - queries :]
    with torch.inference_mode():
        if isinstance(bias, RelativePositionBias):
            offset = key[None, :] - query[:, None]
            values = bias.relative_position_bias.double()
            return scores.double() + values[bias.max_positions - 1 + offset]
        alpha, beta = bias.alpha.double(), bias.beta.double()
        return scores.double() + _rotate(alpha, query) @ _rotate(beta, key).T


def _rotate(vector: Tensor, position: Tensor) -> Tensor:
    half = vector.shape[-1] // 2
    frequency = torch.exp(-torch.log(torch.tensor(1e4).double()) / half * torch.arange(half))
    angle = position[:, None].double() * frequency
    first, second = vector[:, :half], vector[:, half:]
    return torch.cat(
        [
            first * angle.cos() - second * angle.sin(),
            second * angle.cos() + first * angle.sin(),
        ],
        dim=-1,
    )
