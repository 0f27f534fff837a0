"""What a bundle allows whoever checks it where it runs; see `deploy_bias.runtime.proof`.

The tensors of limits.safetensors, and what they bound:

- GRAPH/CASE/OUTPUT, float32 in the shape of the stored output: how far each element may be from
  it, in fp32.
- PRECISION/GRAPH/OUTPUT, float32 (1,): how far a quantised graph may be from the stored outputs,
  as `Agreement.distance`, over all stored cases.
- PRECISION/preferred, float32 (1,): the share of the labels that must be preferred; none if it is
  told and not required.
- FRAMES/NAME/preferred, int64 (U, T): the label that eager prefers after each of the U labels of a
  rollout at each of its T encoder frames; -1 where none counts.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from deploy_bias.bundle.contract import Precision
from deploy_bias.export.graph import ExportGraph
from deploy_bias.export.numerics.quantization import quantized
from deploy_bias.export.parity.agreement import Tally, limit_of
from deploy_bias.export.parity.vectors import stored_cases
from deploy_bias.export.rollout import run_case


def distance_limits(
    graph: ExportGraph, vectors: Mapping[str, np.ndarray], precision: Precision
) -> Iterator[tuple[str, Tensor]]:
    """Yield how far the outputs of a quantised graph may be from the stored ones, by name."""
    call = quantized(graph, precision)
    tally = Tally()
    for _, steps, expected in stored_cases(graph.contract, vectors):
        tally.measure_all(run_case(graph.contract, call, steps, torch.float32), expected)
    for name, distance in tally.distances.items():
        limit = torch.tensor([limit_of(distance, precision)])
        yield f"{precision}/{graph.contract.name}/{name}", limit
