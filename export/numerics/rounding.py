"""What float32 may do to a computation, shown in float64: Monte Carlo arithmetic.

The result of every operator is moved at random by up to a unit in the last place of float32, as
another kernel of the same operator may move it (Parker, Monte Carlo Arithmetic, 1997). So where
a sum cancels, a step is repeated or a division comes near to zero, it is seen how far apart two
sound implementations may be.

Matrix products and convolutions are moved by what their terms round to one by one, which is more
than a unit of a sum that cancels. Sums and means are added up in float32, one number after the
other, see `deploy_bias.export.numerics.summation`. exp, tanh and their like are moved by more, for
runtimes approximate them: of XNNPACK (ExecuTorch 1.4) exp was measured to be off by 8.8 units,
tanh by 4.2 and sigmoid by 3.6, of ONNX Runtime 1.29 tanh by 5.4. Normalisations are moved by more
too: ExecuTorch's and older ONNX Runtimes' kernels take the variance for E[x^2] - E[x]^2, which
cancels where a row is far from zero and narrow: of rows of 100 ± 1 ExecuTorch gives a layer norm
to 2 digits.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from deploy_bias.export.graph import Call, Tensors
from deploy_bias.export.numerics.summation import UNIT, Summation

_ATEN = torch.ops.aten
PRODUCTS = {
    op.default: operands
    for op, operands in (
        (_ATEN.mm, 2),
        (_ATEN.bmm, 2),
        (_ATEN.addmm, 3),
        (_ATEN.baddbmm, 3),
        (_ATEN.convolution, 3),
    )
}
"""The sums of products, and how many of their first arguments are multiplied or added."""
NORMS = {
    _ATEN.native_layer_norm.default,
    _ATEN.native_group_norm.default,
    _ATEN.native_batch_norm.default,
}
APPROXIMATED = {
    getattr(_ATEN, name).default
    for name in (
        *("exp", "log", "logsumexp", "tanh", "sigmoid", "silu", "gelu", "erf", "softplus", "mish"),
    )
} | {_ATEN._softmax.default, _ATEN._log_softmax.default}
APPROXIMATION = 8
"""Units that these are moved by."""
DRAWS = 3
LEAST = torch.finfo(torch.float32).tiny


class Rounding(TorchDispatchMode):
    """In its context every operator on float64 tensors is rounded at random.

    Args:
        generator: of what is random.
        flush: take what float32 holds as a subnormal number for zero, as some processors do.
    """

    def __init__(self, generator: torch.Generator, flush: bool) -> None:
        super().__init__()
        self.generator = generator
        self.flush = flush
        self.summation = Summation(self._between, flush)

    def __enter__(self) -> "Rounding":
        # Attention in one fused operator would hide its parts.
        self._fused = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        torch.backends.mha.set_fastpath_enabled(self._fused)

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operator and move what it gives."""
        if func in self.summation.operators and args[0].dtype == torch.float64:
            return self.round(self.summation.operators[func](*args, **(kwargs or {})))
        if func in NORMS:
            return self._norm(func, args)
        result = func(*args, **(kwargs or {}))
        if func in PRODUCTS and result.dtype == torch.float64:
            squared = [None if arg is None else arg.square() for arg in args[: PRODUCTS[func]]]
            # The terms round each for itself, as a random walk, and so do the sums up to each:
            # XNNPACK starts from the bias and adds term after term, every sum rounded. Of 256 terms
            # and a bias of 6 it was off by 8e-6, 17 times what the result rounds to.
            spread = func(*squared, *args[PRODUCTS[func] :], **(kwargs or {})).sqrt()
            unit = UNIT * (1 + _terms(func, args, result) ** 0.5 / 4)
            return self.round(result + unit * spread * self._between(result.shape))
        if func._schema.is_mutable:
            if isinstance(result, Tensor):
                result.copy_(self.round(result))
            return result
        if any(value.alias_info is not None for value in func._schema.returns):
            return result  # a view
        units = APPROXIMATION if func in APPROXIMATED else 1
        return torch.utils._pytree.tree_map_only(Tensor, lambda t: self.round(t, units), result)

    def round(self, tensor: Tensor, units: int = 1) -> Tensor:
        """Return a tensor moved by up to some units in the last place."""
        if tensor.dtype != torch.float64:
            return tensor
        moved = tensor * (1 + units * UNIT * self._between(tensor.shape))
        return torch.where(moved.abs() < LEAST, 0.0, moved) if self.flush else moved

    def _norm(self, func: Any, args: tuple[Any, ...]) -> tuple[Tensor, Tensor, Tensor]:
        x, eps = args[0], args[-1]
        channels: tuple[int, ...] = (-1, *[1] * (x.ndim - 2))
        if func is _ATEN.native_layer_norm.default:
            _, shape, weight, bias, _ = args
            normal, mean, root = self._normalized(x, tuple(range(-len(shape), 0)), eps)
            channels = tuple(shape)
        elif func is _ATEN.native_group_norm.default:
            _, weight, bias, batch, _, _, groups, _ = args
            normal, mean, root = self._normalized(x.reshape(batch, groups, -1), (-1,), eps)
            normal, mean, root = normal.reshape(x.shape), mean.squeeze(-1), root.squeeze(-1)
        else:
            _, weight, bias, mean, variance, training, _, _ = args
            if training:
                dims = (0, *range(2, x.ndim))
                normal, mean, root = self._normalized(x, dims, eps)
                mean, root = mean.flatten(), root.flatten()
            else:
                root = torch.rsqrt(variance + eps)
                normal = (x - mean.view(channels)) * root.view(channels)
        weight, bias = (None if t is None else t.reshape(channels) for t in (weight, bias))
        return self.round(_affine(normal, weight, bias)), mean, root

    def _normalized(
        self, x: Tensor, dims: tuple[int, ...], eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        mean = x.mean(dims, keepdim=True)
        square = (x * x).mean(dims, keepdim=True)
        exact = (x - mean).square().mean(dims, keepdim=True)
        # Summed one after the other, n numbers round as a random walk.
        unit = UNIT * (x.numel() / mean.numel()) ** 0.5
        mean = mean * (1 + unit * self._between(mean.shape))
        root = torch.rsqrt(exact + unit * square * self._between(square.shape) + eps)
        return (x - mean) * root, mean, root

    def _between(self, shape: Sequence[int]) -> Tensor:
        """Return uniform numbers between -1 and 1."""
        return 2 * torch.rand(shape, generator=self.generator, dtype=torch.float64) - 1


def rounded(call: Call) -> list[Call]:
    """Return a float64 function rounded at random, a few draws of it."""

    def draw(seed: int) -> Call:
        generator = torch.Generator().manual_seed(seed)

        def rounded(inputs: Tensors) -> dict[str, Tensor]:
            with Rounding(generator, flush=False):
                return call(inputs)

        return rounded

    return [draw(seed) for seed in range(DRAWS)]


def _terms(func: Any, args: tuple[Any, ...], result: Tensor) -> int:
    """Return how many products each element of the result sums."""
    if func is _ATEN.convolution.default:
        return int(args[1].numel() // result.shape[1])
    return int(args[PRODUCTS[func] - 2].shape[-1])


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    x = x if weight is None else x * weight
    return x if bias is None else x + bias
