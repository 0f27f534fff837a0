"""The activations of ESPnet's `asr_transducer`, by name.

Source: `espnet2.asr_transducer.activation`, whose names, options and defaults these are.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class FTSwish(nn.Module):
    """Flatten-T swish (arXiv:1812.06247): y = x sigmoid(x) + threshold, threshold where y < 0.

    Args:
        threshold: below 0.
        mean_shift: taken from the result.

    Raises:
        ValueError: `threshold` is 0 or more.
    """

    def __init__(self, threshold: float = -0.2, mean_shift: float = 0.0) -> None:
        super().__init__()
        if threshold >= 0:
            raise ValueError(f"ftswish_threshold must be less than 0, got {threshold}.")
        self.threshold = threshold
        self.mean_shift = mean_shift

    def forward(self, x: Tensor) -> Tensor:
        """Elementwise, any shape and float dtype."""
        y = x * torch.sigmoid(x) + self.threshold
        return torch.where(y >= 0, y, self.threshold) - self.mean_shift


class Smish(nn.Module):
    """Smish: alpha x tanh(log(1 + sigmoid(beta x))).

    Args:
        alpha: taken as 1 when it is 0 or less, as in ESPnet.
        beta: taken as 1 when it is 0 or less, as in ESPnet.
    """

    def __init__(self, alpha: float = 1.0, beta: float = 1.0) -> None:
        super().__init__()
        self.alpha = alpha if alpha > 0 else 1.0
        self.beta = beta if beta > 0 else 1.0

    def forward(self, x: Tensor) -> Tensor:
        """Elementwise, any shape and float dtype."""
        return self.alpha * x * torch.tanh(torch.log(1.0 + torch.sigmoid(self.beta * x)))


class Swish(nn.Module):
    """Swish (arXiv:1710.05941) or, with beta above 1, E-swish (arXiv:1801.07145).

    beta x sigmoid(x): beta scales the result, and not the argument of the sigmoid.

    Args:
        beta: taken as 1 when it is less than 1, as in ESPnet.
    """

    def __init__(self, beta: float = 1.0) -> None:
        super().__init__()
        self.beta = max(float(beta), 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Elementwise, any shape and float dtype."""
        # The product and not F.silu: ExecuTorch delegates the first to XNNPACK.
        y = x * torch.sigmoid(x)
        return y if self.beta == 1.0 else self.beta * y


_DEFAULTS = {
    "ftswish_threshold": -0.2,
    "ftswish_mean_shift": 0.0,
    "hardtanh_min_val": -1.0,
    "hardtanh_max_val": 1.0,
    "leakyrelu_neg_slope": 0.01,
    "smish_alpha": 1.0,
    "smish_beta": 1.0,
    "softplus_beta": 1.0,
    "softplus_threshold": 20,
    "swish_beta": 1.0,
}
_MAKERS: dict[str, Callable[[dict[str, float]], nn.Module]] = {
    "ftswish": lambda o: FTSwish(o["ftswish_threshold"], o["ftswish_mean_shift"]),
    "hardtanh": lambda o: nn.Hardtanh(o["hardtanh_min_val"], o["hardtanh_max_val"]),
    "leaky_relu": lambda o: nn.LeakyReLU(o["leakyrelu_neg_slope"]),
    "mish": lambda o: nn.Mish(),
    "relu": lambda o: nn.ReLU(),
    "selu": lambda o: nn.SELU(),
    "smish": lambda o: Smish(o["smish_alpha"], o["smish_beta"]),
    "swish": lambda o: Swish(o["swish_beta"]),
    "tanh": lambda o: nn.Tanh(),
    "identity": lambda o: nn.Identity(),
}


def get_activation(activation_type: str, **options: float) -> nn.Module:
    """Make an activation from its ESPnet name and options.

    Args:
        activation_type: ftswish, hardtanh, leaky_relu, mish, relu, selu, smish, swish, tanh or
            identity.
        options: any of ESPnet's options; those of other activations change nothing.
            `softplus_beta` and `softplus_threshold` belong to mish and change nothing either:
            since torch 1.9 ESPnet uses torch's own mish, which has neither.

    Returns:
        A module without parameters, elementwise: any shape and float dtype in, the same out.

    Raises:
        TypeError: an option is not a number.
        ValueError: the name or an option is unknown, or ftswish_threshold is not negative.
    """
    if activation_type not in _MAKERS:
        raise ValueError(
            f"activation_type must be one of {', '.join(_MAKERS)}, got {activation_type!r}."
        )
    for name, value in options.items():
        if name not in _DEFAULTS:
            raise ValueError(
                f"activation option {name!r} is unknown, supported: {', '.join(_DEFAULTS)}."
            )
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"activation option {name} must be a number, got {value!r}.")
    return _MAKERS[activation_type](_DEFAULTS | options)
