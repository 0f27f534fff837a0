"""The normalisations of features that ESPnet's `asr_transducer` knows: global and by utterance.

Legend of the shapes: B batch, T frames, M n_mels. Both keep shape and dtype.
Source: `espnet2.layers.global_mvn` and `utterance_mvn`, whose options, defaults and state_dict
entries these are.
"""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class GlobalMVN(nn.Module):
    """(x - mean) / std, with the mean and deviation of the training data.

    Args:
        stats_file: ESPnet's feats_stats.npz: count, sum (M,), sum_square (M,).
        norm_means: subtract the mean.
        norm_vars: divide by the standard deviation.
        eps: the least variance.

    Raises:
        ValueError: the file is no such file. FileNotFoundError: there is none.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        stats_file: str | Path,
        norm_means: bool = True,
        norm_vars: bool = True,
        eps: float = 1e-20,
    ) -> None:
        count, total, total_square = _read_stats(Path(stats_file))
        mean = total / count
        std = np.sqrt(np.maximum(total_square / count - mean * mean, eps))
        self._fill(torch.from_numpy(mean), torch.from_numpy(std), norm_means, norm_vars)

    @classmethod
    def of(
        cls,
        mean: Tensor,
        std: Tensor,
        norm_means: bool = True,
        norm_vars: bool = True,
        eps: float = 1e-20,
    ) -> "GlobalMVN":
        """Make one from its state_dict's mean and std (M,), without the statistics.

        The least variance, eps, is in the std already.
        """
        _check_options(norm_means, norm_vars, eps)
        made = cls.__new__(cls)
        made._fill(mean, std, norm_means, norm_vars)
        return made

    def _fill(self, mean: Tensor, std: Tensor, norm_means: bool, norm_vars: bool) -> None:
        super().__init__()
        self.norm_means = norm_means
        self.norm_vars = norm_vars
        self.register_buffer("mean", mean.float())
        self.register_buffer("std", std.float())

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, M) to (B, T, M)."""
        if self.norm_means:
            x = x - self.mean
        if self.norm_vars:
            x = x / self.std
        return x


class UtteranceMVN(nn.Module):
    """(x - mean) / std, with the mean and deviation of each whole utterance.

    Args:
        norm_means: subtract the mean.
        norm_vars: divide by the standard deviation.
        eps: the least standard deviation.

    Raises:
        TypeError: an option is of the wrong type.
    """

    def __init__(
        self, norm_means: bool = True, norm_vars: bool = False, eps: float = 1e-20
    ) -> None:
        super().__init__()
        _check_options(norm_means, norm_vars, eps)
        self.norm_means = norm_means
        self.norm_vars = norm_vars
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, M) to (B, T, M), every utterance of T frames."""
        # From the first frame on, or a band that does not change is nothing but the rounding of
        # its mean, and divided by its own deviation that is about 1.
        centred = x - x[:, :1]
        centred = centred - centred.mean(1, keepdim=True)
        if self.norm_vars:
            std = centred.square().mean(1, keepdim=True).sqrt().clamp(min=self.eps)
            return (centred if self.norm_means else x) / std
        return centred if self.norm_means else x


def get_normalize(normalize: str | None, **options: Any) -> GlobalMVN | UtteranceMVN | None:
    """Make a normalisation from its ESPnet name, `normalize`, and options, `normalize_conf`.

    Returns:
        A module, or None for None.

    Raises:
        TypeError: an option is unknown or of the wrong type.
        ValueError: the name is unknown, or the statistics file is not what it should be.
        FileNotFoundError: there is no statistics file.
    """
    match normalize:
        case None:
            return None
        case "global_mvn":
            return GlobalMVN(**options)
        case "utterance_mvn":
            return UtteranceMVN(**options)
        case _:
            raise ValueError(
                f"normalize must be global_mvn, utterance_mvn or null, got {normalize!r}."
            )


def _check_options(norm_means: object, norm_vars: object, eps: object) -> None:
    for name, value in (("norm_means", norm_means), ("norm_vars", norm_vars)):
        if not isinstance(value, bool):
            raise TypeError(f"{name} must be true or false, got {value!r}.")
    if isinstance(eps, bool) or not isinstance(eps, int | float):
        raise TypeError(f"eps must be a number, got {eps!r} (YAML takes 1e-20 for a text).")


def _read_stats(path: Path) -> tuple[Any, np.ndarray, np.ndarray]:
    expected = "expected ESPnet's feats_stats.npz with count, sum and sum_square"
    try:
        stats = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"stats_file {path}: {expected}.") from error
    if isinstance(stats, np.ndarray):
        raise ValueError(f"stats_file {path}: {expected}, got one array.")
    with stats:
        if missing := {"count", "sum", "sum_square"} - set(stats):
            raise ValueError(
                f"stats_file {path}: {expected}; {', '.join(sorted(missing))} missing."
            )
        return stats["count"], stats["sum"], stats["sum_square"]
