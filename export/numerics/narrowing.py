"""A float32 module as a runtime of half precision computes it, shown in eager float32.

Every weight and every result is rounded to float16 or bfloat16, and each operator computes in
float32 within, as the kernels for these do. Numbers past the largest become the largest, as
converters clip them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

WIDE = (torch.float32, torch.float64)


class Narrowing(TorchDispatchMode):
    """In its context floating-point tensors are rounded to half precision.

    Args:
        dtype: float16 or bfloat16.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operator on rounded tensors, and round what it gives."""

        def narrow(tensor: Tensor) -> Tensor:
            return narrowed(tensor, self.dtype)

        if func._schema.is_mutable:
            result = func(*args, **(kwargs or {}))
            if isinstance(result, Tensor) and result.dtype in WIDE:
                result.copy_(narrow(result))
            return result
        if any(one.alias_info is not None for one in func._schema.returns):
            return func(*args, **(kwargs or {}))  # a view
        given, named = pytree.tree_map_only(Tensor, narrow, (args, dict(kwargs or {})))
        return pytree.tree_map_only(Tensor, narrow, func(*given, **named))


def narrowed(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a tensor of its own dtype that holds what another one can; others as they are."""
    if tensor.dtype not in WIDE:
        return tensor
    limit = torch.finfo(dtype).max
    clipped = torch.where(tensor.isinf(), tensor, tensor.clamp(-limit, limit))
    return clipped.to(dtype).to(tensor.dtype)
