"""The arguments of a foreign graph: what cannot be meant is told before anything is exported."""

from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn

from deploy_bias.bundle.contract import Append, Replace
from deploy_bias.errors import OptionError
from deploy_bias.export.testing.flat import FlatModule, flatten_outputs


def check_arguments(
    module: object,
    state: object,
    cases: object,
    steps: object,
    ranges: object,
) -> None:
    """Check the kinds of the arguments of a foreign graph.

    Raises:
        OptionError: one is of another kind, or the module is not float32.
    """
    if not isinstance(module, nn.Module):
        raise OptionError(f"module: expected a torch.nn.Module, got {_kind(module)}.")
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.dtype == torch.float64:
            raise OptionError(
                f"module: {name} is torch.float64; give the float32 module, module.float()."
            )
    for where, given in {"state": state, "cases": cases, "ranges": ranges}.items():
        if not isinstance(given, Mapping):
            raise OptionError(f"{where}: expected a dict by name, got {_kind(given)}.")
    assert isinstance(state, Mapping)
    assert isinstance(ranges, Mapping)
    for name, rule in state.items():
        if not isinstance(rule, str | Replace | Append):
            raise OptionError(
                f"state: {name!r}: expected the name of an output, a Replace or an Append, got "
                f"{_kind(rule)}."
            )
    for name, found in ranges.items():
        pair = isinstance(found, Sequence) and len(found) == 2
        if (
            not pair
            or not all(isinstance(number, Integral) for number in found)
            or found[0] > found[1]
        ):
            raise OptionError(
                f"ranges: {name!r}: expected the least and the greatest number, got {found!r}."
            )
    if steps is None:
        return
    if not isinstance(steps, Integral) or steps < 1:
        raise OptionError(f"steps: expected a number of at least 1, got {steps!r}.")
    if not state:
        raise OptionError(
            f"steps={steps} without state: nothing is carried from one step to the next. Say "
            "state={INPUT: OUTPUT}, or leave steps out."
        )


def check_reference(
    exact: FlatModule,
    example: Mapping[str, Tensor],
    outputs: Mapping[str, Tensor],
    reference: Callable[..., Any] | None,
) -> None:
    """Run what must be right in float64 on the example, and see that it gives float64.

    Args:
        exact: the module in float64, or `reference`.
        example: the inputs by name.
        outputs: what the module gives in float32.
        reference: what was given for it, if anything.

    Raises:
        OptionError: it fails, or gives other names, shapes or dtypes.
    """
    what = "module.double()" if reference is None else "reference"
    way_out = "say with reference= what is right, a module or function that gives float64."
    fed = [x.double() if x.is_floating_point() else x.clone() for x in example.values()]
    try:
        with torch.no_grad():
            found = flatten_outputs(exact.nested(*fed), example)
    except Exception as error:  # whatever a module raises
        raise OptionError(
            f"{what} fails on the example inputs in float64, {type(error).__name__}: {error}; "
            f"{way_out}"
        ) from error
    if found.keys() != outputs.keys():
        raise OptionError(f"{what} gives {', '.join(found)}, and the module {', '.join(outputs)}.")
    for name, tensor in outputs.items():
        dtype = torch.float64 if tensor.is_floating_point() else tensor.dtype
        exactly = found[name]
        if (exactly.dtype, exactly.shape) != (dtype, tensor.shape):
            raise OptionError(
                f"{what} gives {name} as {exactly.dtype} {tuple(exactly.shape)} on inputs in "
                f"float64, expected {dtype} {tuple(tensor.shape)}; {way_out}"
            )


def with_the_epsilon_of_float32(module: nn.Module) -> None:
    """Give RMS norms the epsilon that they have in float32, where it is that of the dtype."""
    for part in module.modules():
        if isinstance(part, nn.RMSNorm) and part.eps is None:
            part.eps = torch.finfo(torch.float32).eps


def _kind(value: object) -> str:
    return type(value).__name__
