"""Quantised files: judged by how far the module itself is off when it is quantised in eager.

Rounding is not what limits them. Measured is the root mean square distance of each output to eager
float32, on the example, on random numbers like it and on the user's own cases (a range that was
calibrated holds no other), against that of the module with its linear layers and convolutions
quantised, and for a static file every value: in int8 three times it, in int4 five times. Of two
small networks, four draws each,
ONNX Runtime's dynamic int8 was 0.6 to 0.8 times as far off. Its static one was 0.9 to 1.9 times as
far off where it was calibrated with 256 inputs, and up to 33 times with 1, 4 or 16: the ranges cut
off what other inputs of the same distribution give. That is refused, and the range is named.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from deploy_bias.bundle.contract import Precision
from deploy_bias.export.graph import Call, Tensors
from deploy_bias.export.numerics.operators import name_of
from deploy_bias.export.numerics.quantization import inputs_in_8_bits, weights_in
from deploy_bias.export.parity.agreement import EXPLAINED, LEAST
from deploy_bias.export.parity.proof import Proof
from deploy_bias.export.parity.results import Agreement
from deploy_bias.export.rollout import run_case
from deploy_bias.export.testing.module_graph import ModuleGraph

USUAL = ("example", "normal")
"""The cases that a range was calibrated for, besides the user's own."""
LAYERS = {"mm": 1, "addmm": 2, "convolution": 1}
"""The operators that have weights, and which argument these are; the one before is the input."""


class QuantizingAll(TorchDispatchMode):
    """In its context linear layers and convolutions are quantised, as a file's format has it.

    A scale for each channel of the weights (in int4 for 32 of them), and one for all that a layer
    is fed.

    Args:
        precision: "int8" or "int4".
        weights: of the module; what is multiplied with others is no layer.
        between: quantise the result of every operator, too, as static files do.
    """

    def __init__(self, precision: Precision, weights: Iterable[Tensor], between: bool) -> None:
        super().__init__()
        self.precision = precision
        self.weights = {weight.untyped_storage().data_ptr() for weight in weights}
        self.between = between

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operator; a layer on quantised values."""
        name = name_of(func)
        at = LAYERS.get(name)
        if at is not None and args[at].untyped_storage().data_ptr() in self.weights:
            row = list(args)
            row[at - 1] = _whole(args[at - 1])
            weight = args[at] if name == "convolution" else args[at].t()
            rows = weights_in(self.precision, weight.flatten(1)).view(weight.shape)
            row[at] = rows if name == "convolution" else rows.t()
            args = tuple(row)
        result = func(*args, **(kwargs or {}))
        values = all(one.alias_info is None for one in func._schema.returns)  # no view
        if self.between and values and isinstance(result, Tensor) and result.is_floating_point():
            return _whole(result)
        return result


def _whole(x: Tensor) -> Tensor:
    """Quantise with one scale for all."""
    return inputs_in_8_bits(x.reshape(1, -1)).view(x.shape) if x.numel() else x


def judge_quantized(proof: Proof, call: Call, precision: Precision, between: bool) -> Agreement:
    """Compare a quantised file with eager, and say how far off it may be.

    Args:
        proof: of the module.
        call: the file.
        precision: "int8" or "int4".
        between: whether it quantises all values, and not only what its layers are fed.
    """
    graph = proof.graph
    assert isinstance(graph, ModuleGraph)
    eager = graph.eager(torch.float32)

    def quantized(inputs: Tensors) -> dict[str, Tensor]:
        with QuantizingAll(precision, graph.eager_module.state_dict().values(), between):
            return eager(inputs)

    sides = (eager, quantized, call)
    squares = {spec.name: torch.zeros(3, dtype=torch.float64) for spec in proof.contract.outputs}
    finite = True
    for name, case in proof.cases.items():
        if name not in (*USUAL, *graph.own_cases):
            continue
        right, near, got = (
            run_case(proof.contract, side, case.steps, torch.float32) for side in sides
        )
        for output, sums in squares.items():
            finite &= bool(got[output].isfinite().all())
            own = right[output].double()
            for index, other in enumerate((torch.zeros_like(own), near[output], got[output])):
                sums[index] += (other.double() - own).square().sum()
    found = {}
    for output, sums in squares.items():
        size, near_distance, distance = sums.sqrt().tolist()
        size = max(size, torch.finfo(torch.float32).tiny)
        limit = max(LEAST, EXPLAINED[precision] * near_distance / size)
        found[output] = (distance / size, limit)
    worst = max(found, key=lambda output: found[output][0] / found[output][1])
    return Agreement(
        frames="",
        compared=0,
        agreed=0,
        distance=found[worst][0],
        finite=finite,
        required=None,
        limit=found[worst][1],
        output=worst,
    )
