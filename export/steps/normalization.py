"""The normalisations in operators that XNNPACK takes, for the step graph.

XNNPACK has neither a layer norm nor a mean over the last axis (ExecuTorch 1.4), so each of the
13 normalisations of a 6-block decoder would cut the graph. A mean over the features is a linear
layer with one output, which it has: so the whole decoder is one delegate. ESPnet's recipe size,
256 rows of context, fp32, one x86-64 thread: 1.33 ms a step, and 1.28 with the layer norms left
to ExecuTorch's optimised kernels, which a device need not have.

In ONNX a layer norm is the instance norm of `deploy_bias.export.backends.onnx_layer_norm`.

Legend of the shapes: D size. All act on the last axis of (..., D) and keep shape and dtype.
"""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from deploy_bias.model.normalization import BasicNorm, RMSNorm, ScaleNorm


def step_normalization(norm: nn.Module) -> nn.Module:
    """Return what computes the same as `norm` has now, its parameters folded to constants.

    Args:
        norm: made by `deploy_bias.model.normalization.get_normalization`.

    Raises:
        TypeError: `norm` is another module.
    """
    for kind, make in _FORMS.items():
        if isinstance(norm, kind):
            return make(norm)
    raise TypeError(
        f"norm must be one of {', '.join(kind.__name__ for kind in _FORMS)}, "
        f"got {type(norm).__name__}."
    )


def with_native_layer_norms(module: nn.Module) -> nn.Module:
    """Return a copy of a step with torch's own layer norms, for a runtime that has the operator."""
    module = copy.deepcopy(module)
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, _LayerNorm):
                setattr(parent, name, child.native())
    return module


class _Mean(nn.Module):
    """The mean of the first `counted` of D features: (..., D) to (..., 1)."""

    weights: Tensor

    def __init__(self, like: Tensor, size: int, counted: int) -> None:
        super().__init__()
        weights = like.new_zeros(1, size)
        weights[:, :counted] = 1.0 / counted
        self.register_buffer("weights", weights)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weights)


class _LayerNorm(nn.Module):
    weight: Tensor
    bias: Tensor

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        size = norm.normalized_shape[-1]
        self.mean = _Mean(norm.weight.detach(), size, size)
        self.eps = norm.eps
        self.register_buffer("weight", norm.weight.detach().clone())
        self.register_buffer("bias", norm.bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        centred = x - self.mean(x)
        variance = self.mean(centred * centred)
        out: Tensor = centred * torch.rsqrt(variance + self.eps) * self.weight + self.bias
        return out

    def native(self) -> nn.LayerNorm:
        """Return the layer norm that this is."""
        norm = nn.LayerNorm(self.weight.shape, self.eps, device="meta")
        norm.weight = nn.Parameter(self.weight, requires_grad=False)
        norm.bias = nn.Parameter(self.bias, requires_grad=False)
        return norm


class _BasicNorm(nn.Module):
    def __init__(self, norm: BasicNorm) -> None:
        super().__init__()
        self.mean = _Mean(norm.eps.detach(), norm.normalized_shape, norm.normalized_shape)
        self.eps = norm.eps.exp().item()

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(self.mean(x * x) + self.eps)


class _RMSNorm(nn.Module):
    scale: Tensor

    def __init__(self, norm: RMSNorm) -> None:
        super().__init__()
        self.mean = _Mean(norm.scale.detach(), norm.normalized_shape, norm.counted)
        self.eps = norm.eps
        self.register_buffer("scale", norm.scale.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x / (torch.sqrt(self.mean(x * x)) + self.eps) * self.scale
        return out


class _ScaleNorm(nn.Module):
    def __init__(self, norm: ScaleNorm) -> None:
        super().__init__()
        size = norm.normalized_shape
        self.mean = _Mean(norm.scale.detach(), size, size)
        # The norm of x is sqrt(D) times the root of the mean square.
        self.scale = norm.scale.item() * size**-0.5
        self.eps = norm.eps * size**-0.5

    def forward(self, x: Tensor) -> Tensor:
        root: Tensor = torch.sqrt(self.mean(x * x)).clamp(min=self.eps)
        out: Tensor = x / root * self.scale
        return out


_FORMS: dict[type[nn.Module], Callable[..., nn.Module]] = {
    nn.LayerNorm: _LayerNorm,
    BasicNorm: _BasicNorm,
    RMSNorm: _RMSNorm,
    ScaleNorm: _ScaleNorm,
}
