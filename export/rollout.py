"""Run a graph over steps, the state carried as its contract says."""

from collections.abc import Sequence

import torch
from torch import Tensor

from deploy_bias.bundle.contract import DecoderModule, EncoderModule, GraphContract, TensorSpec
from deploy_bias.bundle.window import next_valid
from deploy_bias.export.graph import Call, Step, Tensors

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
        state = {name: own.get(name, tensor) for name, tensor in state.items()}
        found = _genuine(contract, own, call({**own, **state}))
        state = next_state(contract, state, own, found)
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
            dtype=dtype_of(specs[state.input], dtype),
        )
        for state in contract.state
    }


def next_state(
    contract: GraphContract, state: Outputs, inputs: Tensors, outputs: Outputs
) -> Outputs:
    """Return the state after a step, as the contract says.

    Args:
        contract: of the graph.
        state: before the step.
        inputs: of the step, without the state.
        outputs: of the step.
    """
    after: Outputs = {}
    for rule in contract.state:
        value = state[rule.input]
        if rule.update == "count":
            after[rule.input] = torch.tensor([_count(contract, int(n), inputs) for n in value])
        elif rule.update == "extend":
            assert rule.output is not None
            new = outputs[rule.output][:, : _rows(contract, inputs)]
            after[rule.input] = torch.cat([value, new], dim=1)[:, new.shape[1] :]
        elif rule.update == "append":
            assert rule.output is not None
            output = outputs[rule.output]
            row = output if rule.row is None else output[rule.row]
            after[rule.input] = torch.cat([value[:, 1:], row.unsqueeze(1)], dim=1)
        else:
            assert rule.output is not None
            after[rule.input] = outputs[rule.output]
    return after


def _count(contract: GraphContract, valid: int, inputs: Tensors) -> int:
    module = contract.module
    if isinstance(module, EncoderModule):
        return min(valid + _rows(contract, inputs), module.left_context)
    assert isinstance(module, DecoderModule)
    chunk_size = module.options.get("chunk_size", -1)
    return next_valid(valid, module.context, chunk_size, module.start)


def _rows(contract: GraphContract, inputs: Tensors) -> int:
    assert isinstance(contract.module, EncoderModule)
    return contract.module.encoder_frames(int(inputs["frames"]))


def _genuine(contract: GraphContract, inputs: Tensors, outputs: Outputs) -> Outputs:
    """Take what comes behind the last frame of a chunk out of the comparison."""
    if contract.kind != "encoder":
        return outputs
    rows = _rows(contract, inputs)
    return {
        name: torch.cat([tensor[:, :rows], torch.zeros_like(tensor[:, rows:])], dim=1)
        for name, tensor in outputs.items()
    }


def dtype_of(spec: TensorSpec, dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of a tensor in a run where floating-point tensors have `dtype`."""
    found: torch.dtype = getattr(torch, spec.dtype)
    return dtype if found.is_floating_point else found


def _shape(spec: TensorSpec) -> list[int]:
    return [size for size in spec.shape if isinstance(size, int)]
