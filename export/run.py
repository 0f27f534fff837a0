"""Run a graph over steps, the state carried as its contract says."""

from collections.abc import Sequence

import torch
from torch import Tensor

from deploy_bias.contract import DecoderModule, GraphContract, TensorSpec
from deploy_bias.window import next_valid
from export.graphs import Call, Step

Outputs = dict[str, Tensor]
"""An output of every step of a case, stacked along a new first axis, by name."""


def run_case(
    contract: GraphContract, call: Call, steps: Sequence[Step], dtype: torch.dtype
) -> Outputs:
    """Run a case, the state carried as the contract says.

    Args:
        contract: of the graph.
        call: what computes one step.
        steps: the case.
        dtype: of the floating-point inputs and state.

    Returns:
        Each output of every step, stacked.
    """
    state = saved = initial_state(contract, dtype)
    outputs: list[Outputs] = []
    for step in steps:
        if step.state == "reset":
            state = initial_state(contract, dtype)
        elif step.state == "save":
            saved = state
        elif step.state == "restore":
            state = saved
        own = {
            name: tensor.to(dtype) if tensor.is_floating_point() else tensor
            for name, tensor in step.inputs.items()
        }
        found = call({**own, **state})
        state = next_state(contract, state, found)
        outputs.append(found)
    return {
        spec.name: torch.stack([found[spec.name] for found in outputs]) for spec in contract.outputs
    }


def initial_state(contract: GraphContract, dtype: torch.dtype) -> Outputs:
    """Return the state before the first step, by input name."""
    specs = {spec.name: spec for spec in contract.inputs}
    return {
        state.input: torch.full(
            _shape(specs[state.input]),
            state.initial,
            dtype=torch.int64 if specs[state.input].dtype == "int64" else dtype,
        )
        for state in contract.state
    }


def next_state(contract: GraphContract, state: Outputs, outputs: Outputs) -> Outputs:
    """Return the state after a step, as the contract says."""
    after: Outputs = {}
    for rule in contract.state:
        value = state[rule.input]
        if rule.update == "count":
            module = contract.module
            assert isinstance(module, DecoderModule)
            chunk_size = module.options.get("chunk_size", -1)
            counts = [
                next_valid(int(count), module.context, chunk_size, module.start) for count in value
            ]
            after[rule.input] = torch.tensor(counts)
        elif rule.update == "append":
            assert rule.output is not None
            assert rule.row is not None
            row = outputs[rule.output][rule.row].unsqueeze(1)
            after[rule.input] = torch.cat([value[:, 1:], row], dim=1)
        else:
            assert rule.output is not None
            after[rule.input] = outputs[rule.output]
    return after


def _shape(spec: TensorSpec) -> list[int]:
    return [size for size in spec.shape if isinstance(size, int)]
