"""Quantised files: judged by how far the module itself is off when it is quantised in eager.

Rounding is not what limits them. Measured is the root mean square distance of each output to eager
float32, on the example, on random numbers like it and on the user's own cases (a range that was
calibrated holds no other), against that of the module with its linear layers and convolutions
quantised: in int8 three times it, in int4 five times. Of two small networks, four draws each,
ONNX Runtime's dynamic int8 was 0.6 to 0.8 times as far off, its static one 0.7 to 2.5 times; one
calibration of 16 was 3.9 times as far off, and is refused.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from deploy_bias.bundle.contract import Precision
from deploy_bias.export.graph import Call, Tensors
from deploy_bias.export.numerics.quantization import Quantizing, inputs_in_8_bits
from deploy_bias.export.parity.agreement import EXPLAINED, LEAST
from deploy_bias.export.parity.proof import Proof
from deploy_bias.export.parity.results import Agreement
from deploy_bias.export.rollout import run_case
from deploy_bias.export.testing.module_graph import ModuleGraph

USUAL = ("example", "normal")
"""The cases that a range was calibrated for, besides the user's own."""
LAYERS = (F.linear, F.conv1d, F.conv2d, F.conv3d)


class QuantizingAll(Quantizing):
    """In its context linear layers and convolutions are quantised, as a file's format has it.

    A scale for each channel of the weights (in int4 for 32 of them), and one for all that a layer
    is fed, and for all that it gives.
    """

    def __torch_function__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run a function; a layer on quantised values."""
        if func not in LAYERS:
            return func(*args, **(kwargs or {}))
        x, weight, *more = args
        rows = self._weights(weight.flatten(1)).view(weight.shape)
        return _whole(func(_whole(x), rows, *more, **(kwargs or {})))


def _whole(x: Tensor) -> Tensor:
    """Quantise with one scale for all."""
    return inputs_in_8_bits(x.reshape(1, -1)).view(x.shape)


def judge_quantized(proof: Proof, call: Call, precision: Precision) -> Agreement:
    """Compare a quantised file with eager, and say how far off it may be.

    Args:
        proof: of the module.
        call: the file.
        precision: "int8" or "int4".
    """
    graph = proof.graph
    assert isinstance(graph, ModuleGraph)
    eager = graph.eager(torch.float32)

    def quantized(inputs: Tensors) -> dict[str, Tensor]:
        with QuantizingAll(precision):
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
