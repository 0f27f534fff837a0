"""The normalisations of ESPnet's `asr_transducer`, by name.

Legend of the shapes: D size. All act on the last axis of (..., D) and keep shape and dtype.
Source: `espnet2.asr_transducer.normalization`, whose names, options, defaults and state_dict
entries these are.
"""

import math

import torch
from torch import Tensor, nn

NORMALIZATIONS = ("layer_norm", "basic_norm", "rms_norm", "scale_norm")


def get_normalization(
    normalization_type: str, size: int, **options: float | None
) -> "nn.LayerNorm | BasicNorm | RMSNorm | ScaleNorm":
    """Make a normalisation of `size` features from its ESPnet name and options.

    Args:
        normalization_type: one of `NORMALIZATIONS`.
        size: D.
        options: `eps` (default: layer_norm 1e-12, basic_norm 0.25, rms_norm and scale_norm
            1e-5) and `partial` (rms_norm alone: default -1, which is the whole input). None is
            the default.

    Returns:
        A module, (..., D) to (..., D).

    Raises:
        TypeError: an option is not a number.
        ValueError: the name or an option is unknown, or an option is out of its range.
    """
    if normalization_type not in NORMALIZATIONS:
        raise ValueError(
            f"normalization_type must be one of {', '.join(NORMALIZATIONS)}, "
            f"got {normalization_type!r}."
        )
    chosen: dict[str, float] = {}
    for name, value in options.items():
        if name not in ("eps", "partial"):
            raise ValueError(f"normalization option {name!r} is unknown, supported: eps, partial.")
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            # PyYAML reads 1e-5, which has no dot, as a string.
            raise TypeError(f"normalization option {name} must be a number, got {value!r}.")
        chosen[name] = value
    match normalization_type:
        case "layer_norm":
            return nn.LayerNorm(size, eps=chosen.get("eps", 1e-12))
        case "basic_norm":
            return BasicNorm(size, chosen.get("eps", 0.25))
        case "rms_norm":
            return RMSNorm(size, chosen.get("eps", 1e-5), chosen.get("partial", -1.0))
        case _:
            return ScaleNorm(size, chosen.get("eps", 1e-5))


class BasicNorm(nn.Module):
    """x / sqrt(mean(x^2) + exp(eps)), with a learned eps.

    Args:
        normalized_shape: D.
        eps: the initial value of exp(eps), above 0.

    Raises:
        ValueError: `eps` is 0 or less.
    """

    def __init__(self, normalized_shape: int, eps: float = 0.25) -> None:
        super().__init__()
        if eps <= 0:
            raise ValueError(f"basic_norm's eps must be above 0 (its log is learned), got {eps}.")
        self.normalized_shape = normalized_shape
        self.eps = nn.Parameter(torch.tensor(math.log(eps)))

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        return x * (x.square().mean(-1, keepdim=True) + self.eps.exp()).rsqrt()


class RMSNorm(nn.Module):
    """scale x / (rms + eps) (arXiv:1910.07467), rms over the first features or over all.

    Args:
        normalized_shape: D.
        eps: added outside the root.
        partial: the share of the features that the rms is over; all of them when it is not
            between 0 and 1.

    Raises:
        ValueError: `partial` of D features is less than one feature.
    """

    def __init__(self, normalized_shape: int, eps: float = 1e-5, partial: float = -1.0) -> None:
        super().__init__()
        # How many of the features the rms is over.
        self.counted = int(normalized_shape * partial) if 0 < partial < 1 else normalized_shape
        if self.counted < 1:
            raise ValueError(
                f"rms_norm's partial must leave at least one of {normalized_shape} features, "
                f"got {partial}."
            )
        self.normalized_shape = normalized_shape
        self.eps = eps
        self.scale = nn.Parameter(torch.ones(normalized_shape))

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        # vector_norm has a gradient at 0, the root of a mean has none.
        norm = torch.linalg.vector_norm(x[..., : self.counted], dim=-1, keepdim=True)
        normalized: Tensor = self.scale * (x / (norm * self.counted**-0.5 + self.eps))
        return normalized


class ScaleNorm(nn.Module):
    """scale x / max(||x||, eps) (arXiv:1910.05895), with one learned scale.

    Args:
        normalized_shape: D.
        eps: the least norm to divide by.
    """

    def __init__(self, normalized_shape: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.normalized_shape = normalized_shape
        self.eps = eps
        self.scale = nn.Parameter(torch.tensor(normalized_shape**0.5))

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        norm: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        return x * (self.scale / norm.clamp(min=self.eps))
