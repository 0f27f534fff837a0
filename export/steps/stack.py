"""State of several layers in one tensor, taken apart and put together by delegated operators.

XNNPACK has neither select nor stack.
"""

import torch
from torch import Tensor


def layer_of(state: Tensor, index: int) -> Tensor:
    """Return row `index` of a state (M, ...), as `state[index]` would."""
    return state.narrow(0, index, 1).view(state.shape[1:])


def stack(rows: list[Tensor]) -> Tensor:
    """Return rows of equal shape as one tensor (M, ...), as `torch.stack` would."""
    rows = [row.view(1, *row.shape) for row in rows]
    # XNNPACK takes no cat of one tensor.
    return torch.cat(rows) if len(rows) > 1 else rows[0]
