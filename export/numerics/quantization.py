"""What quantisation may do to a computation, shown in eager float32.

The linear layers are given inputs of 8 bits and weights of 8 or 4, with a scale for each row of
inputs and of weights (in int4 for 32 weights of a row), which is XNNPACK's scheme. Of the demo
model and of a random one of ESPnet's recipe size XNNPACK's outputs are 0.93 to 1.02 times as far
from eager as these, ONNX Runtime's, whose scales are for 64 or 32 inputs and weights, 0.78 to 1.34
times.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from deploy_bias.bundle.contract import Precision
from deploy_bias.export.graph import Call, ExportGraph, Tensors
from deploy_bias.model.bias.toeplitz import toeplitz

GROUP = 32
"""The weights of a scale in int4."""


class Quantizing(TorchFunctionMode):
    """In its context every linear layer is quantised, but the mean of a normalisation is not.

    Args:
        precision: any but "fp32".
        kept: weights whose layers stay in float32.
    """

    def __init__(self, precision: Precision, kept: Collection[Tensor] = ()) -> None:
        super().__init__()
        self.precision = precision
        self._kept = {id(weight) for weight in kept}

    def __torch_function__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run a function; a linear layer on quantised values."""
        # One output is a mean, see `deploy_bias.export.steps.normalization`.
        if func is F.linear and args[1].shape[0] > 1 and id(args[1]) not in self._kept:
            x, weight, *bias = args
            rows = weights_in(self.precision, weight)
            return func(inputs_in_8_bits(x), rows, *bias, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


class Twin:
    """The module that is exported of a graph, with some of its linear layers quantised.

    Attributes:
        layers: those that a quantised export quantises, by name.
    """

    def __init__(self, graph: ExportGraph) -> None:
        self._contract = graph.contract
        self._module = graph.module(toeplitz)
        # One output is a mean, see `deploy_bias.export.steps.normalization`.
        self.layers = {
            name: layer
            for name, layer in self._module.named_modules()
            if isinstance(layer, nn.Linear) and layer.out_features > 1
        }

    def call(self, float_layers: Collection[str]) -> Call:
        """Return what it computes if all other layers are quantised as in int8."""
        kept = [self.layers[name].weight for name in float_layers]

        def call(inputs: Tensors) -> dict[str, Tensor]:
            tensors = [
                inputs[spec.name].to(getattr(torch, spec.dtype)) for spec in self._contract.inputs
            ]
            with torch.no_grad(), Quantizing("auto", kept):
                outputs = self._module(*tensors)
            outputs = (outputs,) if isinstance(outputs, Tensor) else outputs
            names = (spec.name for spec in self._contract.outputs)
            return dict(zip(names, outputs, strict=True))

        return call


def quantized(graph: ExportGraph, precision: Precision) -> Call:
    """Return eager float32 with its linear layers quantised.

    In "auto" by the module that is exported, for it is its layers that `float_layers` names.
    """
    if precision == "auto":
        return Twin(graph).call(graph.float_layers)
    call = graph.eager(torch.float32)

    def run(inputs: Tensors) -> dict[str, Tensor]:
        with Quantizing(precision):
            return call(inputs)

    return run


def weights_in(precision: Precision, weight: Tensor) -> Tensor:
    """Quantise weights, a scale for each row; in int4 for 32 weights of it."""
    if precision != "int4":
        return _symmetric(weight, 8)
    size = weight.shape[1]
    whole = F.pad(weight, (0, -size % GROUP))
    return _symmetric(whole.unflatten(1, (-1, GROUP)), 4).flatten(1)[:, :size]


def _symmetric(x: Tensor, bits: int) -> Tensor:
    most = 2 ** (bits - 1)
    scale = _positive(x.abs().amax(-1, keepdim=True) / (most - 0.5))
    return (x / scale).round().clamp(-most, most - 1) * scale


def inputs_in_8_bits(x: Tensor) -> Tensor:
    """Quantise to the range of each row, zero among it."""
    least, most = (found(x, -1, keepdim=True) for found in (torch.amin, torch.amax))
    least, most = least.clamp(max=0), most.clamp(min=0)
    scale = _positive((most - least) / 255)
    zero = (least / scale).round()
    return ((x / scale).round() - zero).clamp(0, 255).add(zero) * scale


def _positive(scale: Tensor) -> Tensor:
    return scale.clamp(min=torch.finfo(torch.float32).tiny)
