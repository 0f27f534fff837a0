"""What a module must compute, in float64, and that rounded at random."""

import copy
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from deploy_bias.errors import OptionError
from deploy_bias.export.graph import Call, Tensors
from deploy_bias.export.numerics.precise import HELD, Precise, Precision
from deploy_bias.export.numerics.rounding import Rounding
from deploy_bias.export.testing.flat import FlatModule, flatten_outputs


class Exact:
    """The module, or its reference, in float64.

    A module is run as it is, on tensors that say their dtype and hold float64; if it cannot be
    (where it leaves torch for numpy), as `module.double()`. A function takes and gives float64.

    Args:
        flat: the module, or a function.
        example: its inputs by name.
        outputs: what the eager module gives for them.

    Attributes:
        said: the dtypes of what the module computes, as far as it is known.

    Raises:
        OptionError: it fails, or gives other names, shapes or dtypes.
    """

    def __init__(
        self, flat: FlatModule, example: Mapping[str, Tensor], outputs: Mapping[str, Tensor]
    ) -> None:
        self.flat = flat
        self.example = example
        self.outputs = outputs
        self.said: set[torch.dtype] = set()
        self.precise = isinstance(flat.inner, nn.Module)
        if not self.precise:
            self._check("reference")
            return
        try:
            self._check("module")
        except OptionError as error:
            first = error
            self.precise = False
            self.flat = copy.deepcopy(flat).double()
            try:
                self._check("module.double()")
            except OptionError:
                raise first from error

    def call(self, rounding: Rounding | None = None) -> Call:
        """Return a function of float64 inputs by name, its operators moved by `rounding`."""
        if self.precise:
            precision = Precision(rounding)

            def run(*tensors: Tensor) -> Any:
                if rounding is not None:
                    tensors = tuple(map(rounding.flushed, tensors))
                says = [
                    Precise(tensor, like.dtype) if like.dtype in HELD else tensor
                    for tensor, like in zip(tensors, self.example.values(), strict=True)
                ]
                result = precision.call(self.flat.nested, *says)
                self.said |= precision.said
                return result
        else:

            def run(*tensors: Tensor) -> Any:
                with torch.no_grad(), rounding or nullcontext():
                    return self.flat.nested(*tensors)

        def call(inputs: Tensors) -> dict[str, Tensor]:
            return flatten_outputs(run(*[inputs[name] for name in self.example]), self.example)

        return call

    def _check(self, what: str) -> None:
        way_out = "say with reference= what is right, a module or function that gives float64."
        fed = {
            name: tensor.double() if tensor.is_floating_point() else tensor.clone()
            for name, tensor in self.example.items()
        }
        try:
            given = self.call()(fed)
        except Exception as error:  # whatever a module raises
            raise OptionError(
                f"{what} fails on the example inputs in float64, {type(error).__name__}: {error}; "
                f"{way_out}"
            ) from error
        if given.keys() != self.outputs.keys():
            raise OptionError(
                f"{what} gives {', '.join(given)}, and the module {', '.join(self.outputs)}."
            )
        for name, tensor in self.outputs.items():
            dtype = torch.float64 if tensor.is_floating_point() else tensor.dtype
            exactly = given[name]
            if (exactly.dtype, exactly.shape) != (dtype, tensor.shape):
                raise OptionError(
                    f"{what} gives {name} as {exactly.dtype} {tuple(exactly.shape)} on inputs in "
                    f"float64, expected {dtype} {tuple(tensor.shape)}; {way_out}"
                )


def exact_of(
    given: nn.Module | Callable[..., Any],
    like: FlatModule,
    example: Mapping[str, Tensor],
    outputs: Mapping[str, Tensor],
) -> Exact:
    """Return a module or a reference in float64, that takes its arguments as `like` does."""
    own = copy.deepcopy(given) if isinstance(given, nn.Module) else given
    return Exact(FlatModule(own, like.structure, like.dtypes).eval(), example, outputs)
