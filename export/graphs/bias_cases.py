"""The inputs that parity is checked on: recorded real scores, and stress."""

from collections.abc import Callable
from functools import cache
from importlib.resources import files

import numpy as np
import torch
from torch import Tensor

Case = Callable[[tuple[int, ...]], Tensor]

SEED = 20


def score_cases(seed: int = 0) -> dict[str, Case]:
    """Return the cases for attention scores by name; each makes a (B, Q, K) float32 tensor.

    The seed is of what is random.

    One case holds one magnitude, so that an error budget taken from its largest value is
    narrow for all of it.
    """

    def normal(shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(SEED + seed))

    return {
        "real": _real,
        "normal": normal,
        "zeros": torch.zeros,
        "ones": torch.ones,
        "sign flips": lambda shape: torch.where(_counter(shape) % 2 == 0, 1.0, -1.0),
        "one-hot": lambda shape: (_counter(shape) == _counter(shape).max() // 2).float(),
        "repeated rows": lambda shape: normal(shape[-1:]).repeat(*shape[:-1], 1),
        "ramp": lambda shape: _counter(shape).float() / 64,
        "large": lambda shape: normal(shape) * 1e6,
        "largest": lambda shape: torch.full(shape, torch.finfo(torch.float32).max / 2),
        "tiny": lambda shape: normal(shape) * 1e-30,
        "subnormal": lambda shape: torch.full(shape, 1e-40),
        "masked": lambda shape: torch.zeros(shape).masked_fill(_future(shape), -torch.inf),
        "not finite": lambda shape: torch.zeros(shape).masked_fill(
            _counter(shape) % 3 == 1, torch.nan
        ),
    }


@cache
def recorded_scores() -> Tensor:
    """(32, 128): attention scores before the bias, of the shipped model on digit strings."""
    from safetensors.numpy import load

    data = files("deploy_bias").joinpath("data/scores.safetensors").read_bytes()
    return torch.from_numpy(load(data)["scores"])


def _real(shape: tuple[int, ...]) -> Tensor:
    recorded = recorded_scores()
    rows = torch.arange(int(np.prod(shape[:-1]))) % recorded.shape[0]
    columns = torch.arange(shape[-1]) % recorded.shape[1]
    return recorded[rows][:, columns].reshape(shape)


def _counter(shape: tuple[int, ...]) -> Tensor:
    return torch.arange(int(np.prod(shape))).reshape(shape)


def _future(shape: tuple[int, ...]) -> Tensor:
    queries, keys = shape[-2:]
    return torch.ones(queries, keys, dtype=torch.bool).triu(keys - queries + 1)
