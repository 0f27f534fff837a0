"""Whether a module is a function of its inputs, which is all that a graph can be."""

from collections.abc import Mapping

import torch
from torch import Tensor

from deploy_bias.errors import OptionError
from deploy_bias.export.graph import Tensors
from deploy_bias.export.testing.flat import FlatModule, flatten_outputs


def check_is_function(module: FlatModule, example: Mapping[str, Tensor]) -> Tensors:
    """Run a module on its example, and on random numbers like it, and see that nothing else counts.

    Args:
        module: in eval mode.
        example: its inputs by name.

    Returns:
        What it gives on its example, by name.

    Raises:
        OptionError: it fails on its example; it changes an input, a parameter or a buffer; it gives
            something else when it is run again; or an output holds no finite number.
    """
    try:
        first = _run(module, example)
    except OptionError:
        raise
    except Exception as error:  # whatever a module raises
        raise OptionError(
            f"the module fails on its example inputs, {type(error).__name__}: {error}"
        ) from error
    for name, tensor in first.items():
        if not tensor.numel():
            raise OptionError(
                f"{name} is {tuple(tensor.shape)} on the example inputs, and holds nothing to "
                "compare; give an example of another size, or leave it out, in a module around "
                "this one."
            )
        if not tensor.isfinite().any():
            raise OptionError(
                f"{name} holds no finite number on the example inputs, so nothing can be compared; "
                "give an example of what the module is made for."
            )
    generator = torch.Generator().manual_seed(0)
    drawn = {
        name: torch.randn(tensor.shape, generator=generator).to(tensor.dtype)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in example.items()
    }
    for inputs, once in ((example, first), (drawn, _try(module, drawn))):
        again = once and _run(module, inputs)
        for name, tensor in once.items():
            check_shape(name, first[name].shape, tensor.shape)
            if not torch.equal(tensor.nan_to_num(), again[name].nan_to_num()):
                raise OptionError(
                    f"{name} is another each time that the module is run on the same inputs, also "
                    "in eval mode; an export is compared with one result. Take what is random "
                    "(a dropout with training=True, torch.rand) or remembered (an attribute that "
                    "forward sets) for an input, or out."
                )
    return first


def check_shape(name: str, expected: torch.Size, shape: torch.Size) -> None:
    """See that an output has one shape.

    Raises:
        OptionError: it has another for other numbers.
    """
    if shape != expected:
        raise OptionError(
            f"{name} is {tuple(expected)} on the example inputs and {tuple(shape)} on others of "
            "the same shapes: its shape depends on the numbers, and a graph's does not. Return all "
            "elements and a mask, in a module around this one."
        )


def _run(module: FlatModule, inputs: Mapping[str, Tensor]) -> Tensors:
    """Return the outputs, nothing of the module or its inputs having changed."""
    fed = {name: tensor.clone() for name, tensor in inputs.items()}
    held = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    before = {name: tensor.detach().clone() for name, tensor in held.items()}
    with torch.no_grad():
        outputs = flatten_outputs(module.nested(*fed.values()), inputs)
    for name, tensor in inputs.items():
        if not _same(tensor, fed[name]):
            raise OptionError(
                f"forward changes its input {name} in place, and a graph cannot; work on "
                f"{name}.clone() and return it, with state={{{name!r}: ITS OUTPUT}} if it is "
                "carried on."
            )
    now = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    for name, tensor in before.items():
        if not _same(tensor, now[name]):
            raise OptionError(
                f"forward changes the module's own {name.removeprefix('inner.')}, and a graph has "
                "no memory; take it as an input and return it, with state={INPUT: OUTPUT}. (A "
                "buffer of a module that is not scripted is taken as state by itself.)"
            )
    # An output may be a view of an input or a buffer.
    return {name: tensor.clone() for name, tensor in outputs.items()}


def _try(module: FlatModule, inputs: Mapping[str, Tensor]) -> Tensors:
    """Return the outputs, or none of what the module refuses."""
    try:
        return _run(module, inputs)
    except OptionError:
        raise
    except Exception:  # whatever a module raises for what it is not made for
        return {}


def _same(one: Tensor, two: Tensor) -> bool:
    return one.shape == two.shape and torch.equal(one.nan_to_num(), two.nan_to_num())
