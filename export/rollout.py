"""Run a graph over steps, the state carried as its contract says."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from deploy_bias.bundle.contract import GraphContract, TensorSpec
from deploy_bias.export.graph import Call, Step, Tensors
from deploy_bias.runtime.state import State, StateSpace

Outputs = dict[str, Tensor]
"""An output of every step of a case, stacked along a new first axis, by name."""


class Rollout:
    """A graph's state in tensors, of the whole batch.

    Args:
        contract: of the graph.
        dtype: of the floating-point state.
    """

    def __init__(self, contract: GraphContract, dtype: torch.dtype) -> None:
        self.contract = contract
        wide = np.float64 if dtype == torch.float64 else np.float32
        self._space = StateSpace(contract, whole=True, floating=wide)
        self.state = self.start()

    def start(self) -> State:
        """Return the state before the first step."""
        return self._space.start()

    def step(self, call: Call, own: Tensors) -> Outputs:
        """Run a step and go on to the next state.

        Args:
            call: what computes it.
            own: the inputs that are not state, or take the place of one.

        Returns:
            The outputs by name; what is not genuine in them is zero.
        """
        carried = self._space.inputs([self.state])
        replaced = {name: own[name].numpy() for name in carried if name in own}
        if replaced:
            self.state = self._space.read({**carried, **replaced})
            carried = self._space.inputs([self.state])
        # Cloned, so aligned: where a window happens to lie in memory changes how eager rounds.
        state = {name: torch.from_numpy(array).clone() for name, array in carried.items()}
        outputs = self._genuine(own, call({**own, **state}))
        counts = {name: tensor.numpy() for name, tensor in own.items()} if self._counted else {}
        arrays = [outputs[spec.name].detach().numpy() for spec in self.contract.outputs]
        (self.state,) = self._space.after([self.state], counts, arrays)
        return outputs

    @property
    def _counted(self) -> bool:
        return any(spec.rows is not None for spec in self.contract.outputs)

    def _genuine(self, own: Tensors, outputs: Outputs) -> Outputs:
        """Take what comes behind the genuine rows out of the comparison."""
        genuine = dict(outputs)
        for spec in self.contract.outputs:
            if spec.rows is not None:
                tensor, rows = outputs[spec.name], spec.rows.count(int(own[spec.rows.input]))
                rest = torch.zeros_like(tensor[:, rows:])
                genuine[spec.name] = torch.cat([tensor[:, :rows], rest], dim=1)
        return genuine


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
    rollout = Rollout(contract, dtype)
    saved = rollout.state
    outputs: list[Mapping[str, Tensor]] = []
    for step in steps:
        if step.state == "reset":
            rollout.state = rollout.start()
        elif step.state == "save":
            saved = rollout.state
        elif step.state == "restore":
            rollout.state = saved
        own = {
            name: tensor.to(dtype) if tensor.is_floating_point() else tensor
            for name, tensor in step.inputs.items()
        }
        outputs.append(rollout.step(call, own))
    return {
        spec.name: torch.stack([output[spec.name] for output in outputs])
        for spec in contract.outputs
    }


def dtype_of(spec: TensorSpec, dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of a tensor in a run where floating-point tensors have `dtype`."""
    own: torch.dtype = getattr(torch, spec.dtype)
    return dtype if own.is_floating_point else own
