"""ESPnet's two relative position biases, as one vector that is expanded on demand.

Both biases are Toeplitz: the value for query i and key j depends on the relative offset
j - i alone. So either is held by one vector over the offsets, `offsets()`, and a square or
a window of it is that vector laid out in rows that shift by one.

Legend of the shapes: P max_positions, L length, Q query_length, K key_length, D size.
Source: `espnet2.asr_transducer.decoder.modules.mega.positional_bias`; the biases are those
of MEGA (arXiv:2209.10655).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from deploy_bias.model.bias.toeplitz import toeplitz, toeplitz_by_repeat


class _PositionBias(nn.Module):
    """What the two biases share; a subclass says how its diagonals are made."""

    max_positions: int

    def diagonals(self, query_length: int, key_length: int) -> Tensor:
        """(Q + K - 1,): the values for the offsets 1 - K up to Q - 1."""
        raise NotImplementedError

    @torch.jit.export
    def offsets(self) -> Tensor:
        """Return the whole bias: (2P - 1,), where element P - 1 + j - i is for query i, key j."""
        return self.diagonals(self.max_positions, self.max_positions)

    @torch.jit.export
    def window(self, query_length: int, key_length: int) -> Tensor:
        """Return the last rows of the square over `key_length`, without building the square.

        Args:
            query_length: Q, 1 to key_length: the newest queries.
            key_length: K, 1 to max_positions.

        Returns:
            (Q, K), in the dtype and on the device of the parameters: `forward(K)[-Q:]`.

        Raises:
            TypeError: a length is not an int.
            ValueError: a length is outside its range.
        """
        _check_length("key_length", key_length, self.max_positions, "max_positions")
        _check_length("query_length", query_length, key_length, "key_length")
        return _expand(self.diagonals(query_length, key_length), query_length, key_length)

    def forward(self, length: int) -> Tensor:
        """Return the bias for `length` queries against as many keys.

        Args:
            length: L, 1 to max_positions.

        Returns:
            (L, L), row = query, column = key, in the dtype and on the device of the parameters.

        Raises:
            TypeError: `length` is not an int.
            ValueError: `length` is less than 1 or more than max_positions.
        """
        _check_length("length", length, self.max_positions, "max_positions")
        return _expand(self.diagonals(length, length), length, length)


class RelativePositionBias(_PositionBias):
    """One learned value a relative offset (ESPnet's `rel_pos_bias_type: simple`).

    `B[i, j] = relative_position_bias[P - 1 + j - i]`, bit for bit what ESPnet gives.

    Args:
        max_positions: P, 1 or more.

    Raises:
        TypeError: `max_positions` is not an int.
        ValueError: `max_positions` is less than 1.
    """

    def __init__(self, max_positions: int) -> None:
        super().__init__()
        _check_at_least("max_positions", max_positions, 1)
        self.max_positions = max_positions
        self.relative_position_bias = nn.Parameter(torch.empty(2 * max_positions - 1))
        self.reset_parameters()

    def reset_parameters(self, val: float = 0.0, std: float = 0.02) -> None:
        """Draw the parameter from normal(val, std)."""
        nn.init.normal_(self.relative_position_bias, mean=val, std=std)

    def diagonals(self, query_length: int, key_length: int) -> Tensor:
        """(Q + K - 1,): the values for the offsets 1 - K up to Q - 1."""
        last = self.max_positions - 1 + query_length
        return self.relative_position_bias[self.max_positions - key_length : last]


class RotaryRelativePositionBias(_PositionBias):
    """The product of two rotated vectors (ESPnet's `rel_pos_bias_type: rotary`).

    With c = a1 b1 + a2 b2 and s = a1 b2 - a2 b1 over the halves of alpha and beta,
    `B[i, j] = sum_k c_k cos((i - j) t_k) + s_k sin((i - j) t_k)`, t_k = 10000 ** (-2 k / D):
    one sum for each offset instead of ESPnet's (L, D) x (D, L) product. The tables are float64
    whatever the parameters are, and so is the sum; it is rounded once, at the end, so no value
    of the parameters' dtype is closer to the formula.

    Args:
        size: D, even, 2 or more.
        max_positions: P, 1 or more.

    Raises:
        TypeError: an argument is not an int.
        ValueError: `size` is odd or less than 2, or `max_positions` is less than 1.
    """

    sin: Tensor
    cos: Tensor

    def __init__(self, size: int, max_positions: int = 2048) -> None:
        super().__init__()
        _check_at_least("size", size, 2)
        if size % 2:
            raise ValueError(f"size must be even (it is split in halves), got {size}.")
        _check_at_least("max_positions", max_positions, 1)
        self.size = size
        self.max_positions = max_positions
        self.alpha = nn.Parameter(torch.empty(1, size))
        self.beta = nn.Parameter(torch.empty(1, size))
        # ESPnet's state_dict has this entry; nothing reads it.
        self.register_buffer("_pe", torch.zeros(1))
        table = torch.empty(max_positions, size // 2, dtype=torch.float64)
        self.register_buffer("sin", table, persistent=False)
        self.register_buffer("cos", table.clone(), persistent=False)
        self._fill_tables()
        self.reset_parameters()

    def reset_parameters(self, val: float = 0.0, std: float = 0.02) -> None:
        """Draw both parameters from normal(val, std)."""
        nn.init.normal_(self.alpha, mean=val, std=std)
        nn.init.normal_(self.beta, mean=val, std=std)

    def diagonals(self, query_length: int, key_length: int) -> Tensor:
        """(Q + K - 1,): the values for the offsets 1 - K up to Q - 1."""
        half = self.size // 2
        a1, a2 = self.alpha[0, :half].double(), self.alpha[0, half:].double()
        b1, b2 = self.beta[0, :half].double(), self.beta[0, half:].double()
        even = torch.mv(self.cos[:key_length].double(), a1 * b1 + a2 * b2)
        odd = torch.mv(self.sin[:key_length].double(), a1 * b2 - a2 * b1)
        offset = torch.arange(1 - key_length, query_length, device=self.alpha.device)
        distance = offset.abs()
        return (even[distance] - offset.sign() * odd[distance]).to(self.alpha.dtype)

    def _fill_tables(self) -> None:
        """Fill sin and cos, (P, D / 2), float64, on the device that alpha has now."""
        if self.alpha.is_meta:
            return
        half = self.size // 2
        frequency = 10000.0 ** (-torch.arange(half, dtype=torch.float64, device="cpu") / half)
        position = torch.arange(self.max_positions, dtype=torch.float64, device="cpu")
        angle = torch.outer(position, frequency)
        self.sin = angle.sin().to(self.alpha.device)
        self.cos = angle.cos().to(self.alpha.device)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> "RotaryRelativePositionBias":
        # A cast leaves a table rounded, and to_empty() leaves it unset.
        super()._apply(fn, recurse)
        self._fill_tables()
        return self

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        # load_state_dict(assign=True) changes the device without _apply.
        if self.sin.device != self.alpha.device:
            self._fill_tables()


def _expand(diagonals: Tensor, query_length: int, key_length: int) -> Tensor:
    if not torch.jit.is_scripting():  # noqa: SIM102 - TorchScript compiles both sides of `and`
        if torch.compiler.is_exporting():
            return toeplitz_by_repeat(diagonals, query_length, key_length)
    return toeplitz(diagonals, query_length, key_length)


def _check_at_least(name: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, got {value!r}.")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}.")


def _check_length(name: str, value: int, limit: int, limit_name: str) -> None:
    if not torch.jit.is_scripting():
        _check_int(name, value)
    if value < 1 or value > limit:
        raise ValueError(f"{name} must be 1 to {limit} ({limit_name}), got {value}.")


@torch.jit.unused
def _check_int(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | torch.SymInt):
        raise TypeError(f"{name} must be an int, got {value!r}.")
