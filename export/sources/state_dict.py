"""Load the part of a model's weights that a module is made of, strictly."""

from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from deploy_bias.errors import SourceError

PLACEHOLDER = "_pe"
"""ESPnet's rotary bias saves this, which is never filled: any bits, NaN too."""

_Module = TypeVar("_Module", bound=nn.Module)


def part(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under a prefix, without it."""
    return {
        name.removeprefix(f"{prefix}."): tensor
        for name, tensor in state.items()
        if name.startswith(f"{prefix}.")
    }


def fill(
    module: _Module, prefix: str, state: Mapping[str, Tensor], section: str, where: str
) -> _Module:
    """Load a module's weights and return it in eval mode, without gradients.

    Args:
        module: made with the options of the config.
        prefix: of its weights in the checkpoint.
        state: the whole model.
        section: of config.yaml, where its options stand.
        where: the files, for errors.

    Raises:
        SourceError: a tensor is missing, unknown, of another shape or not finite.
    """
    found = part(prefix, state)
    wanted = module.state_dict()
    problems = [f"{prefix}.{name} is missing" for name in sorted(wanted.keys() - found.keys())] + [
        f"{prefix}.{name} is unknown" for name in sorted(found.keys() - wanted.keys())
    ]
    problems += [
        f"{prefix}.{name} has shape {tuple(found[name].shape)}, expected {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in found and found[name].shape != tensor.shape
    ]
    if problems:
        more = f", and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise SourceError(
            f"{where}: the weights do not fit {section}: {'; '.join(problems[:3])}{more}. Give the "
            "config.yaml that they were trained with."
        )
    module.load_state_dict(found, strict=True)
    for name, tensor in module.state_dict().items():
        if name.rpartition(".")[2] == PLACEHOLDER:
            continue
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise SourceError(
                f"{where}: {prefix}.{name}: expected finite values; it holds others (a diverged "
                "training?)."
            )
    return module.requires_grad_(False).eval()
