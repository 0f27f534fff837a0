"""A copy of a module, which the gate may run, export and change as it likes."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, is_lazy
from torch.utils import _pytree as pytree

from deploy_bias.errors import OptionError


def _without_values(buffer: Tensor) -> Tensor:
    """Return another buffer that waits for its first input."""
    make: Any = UninitializedBuffer  # it takes what torch.empty does
    found: Tensor = make(device=buffer.device, dtype=buffer.dtype)
    return found


def copy_module(
    module: nn.Module, structure: pytree.TreeSpec, inputs: Mapping[str, Tensor]
) -> nn.Module:
    """Return a copy in eval mode, on the CPU, without gradients.

    Weights that wait for a first input get it: those of the copy. What torch.compile made is taken
    for what it was made of.

    Raises:
        OptionError: it holds something that cannot be copied, or fails on its first input.
    """
    module = getattr(module, "_orig_mod", module)
    memo: dict[int, Any] = {
        id(buffer): _without_values(buffer)
        for buffer in module.buffers()
        if is_lazy(buffer)  # deepcopy refuses these, too
    }
    for part in module.modules():
        for tensor in vars(part).values():
            # Computed of parameters, as by weight_norm: deepcopy refuses these.
            if isinstance(tensor, Tensor) and tensor.grad_fn is not None:
                memo[id(tensor)] = tensor.detach().clone()
    try:
        copied = copy.deepcopy(module, memo).eval().cpu()
    except Exception as error:  # each attribute has its own
        raise OptionError(
            f"module: {type(module).__name__} cannot be copied, {type(error).__name__}: {error}; "
            "take what cannot (an open file, a lock, a generator) out of it."
        ) from error
    if any(is_lazy(weight) for weight in (*copied.parameters(), *copied.buffers())):
        arguments, named = pytree.tree_unflatten(list(inputs.values()), structure)
        try:
            with torch.no_grad():
                copied(*arguments, **named)
        except Exception as error:  # whatever a module raises
            raise OptionError(
                f"the module fails on its example inputs, {type(error).__name__}: {error}"
            ) from error
    for weight in copied.parameters():
        if weight.is_leaf:  # a scripted module's are none
            weight.requires_grad_(False)
    return copied
