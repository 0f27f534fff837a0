"""The RWKV block: time mixing by a decaying linear attention, channel mixing by a feed-forward.

The attention of an input t over itself and those before it, each feature on its own, is

    wkv[t] = (sum over s < t of e^((t-1-s) w + k[s]) v[s]  +  e^(u + k[t]) v[t])
           / (sum over s < t of e^((t-1-s) w + k[s])       +  e^(u + k[t]))

with decay w = -exp(time_decay), u = time_first, key k and value v. `wkv_step` carries the two
sums, scaled by e^-maximum, so that no power overflows. ESPnet computes whole sequences by a
kernel that needs CUDA even to be constructed; this runs, and has its gradients, anywhere.

Legend of the shapes: B batch, L length, D size, A attention_size.
Source: `espnet2.asr_transducer.decoder.blocks.rwkv` and `...decoder.modules.rwkv`; RWKV is
arXiv:2305.13048.
"""

import torch
from torch import Tensor, nn

MAXIMUM_START = -1e38
"""The maximum before the first input, as the training kernel has it: below any key."""


class RWKV(nn.Module):
    """Attention and feed-forward, each with a residual and normalised beforehand.

    Args:
        size: D.
        linear_size: hidden features of the feed-forward.
        attention_size: A, 2 or more.
        block_id: which block of the decoder this is, from 0; new parameters depend on it.
        num_blocks: of the decoder, 2 or more.
        normalization_att: a module, (..., D) to (..., D).
        normalization_ffn: likewise.
        att_dropout_rate: of what the attention gives, in training.
        ffn_dropout_rate: of what the feed-forward gives, in training.
    """

    def __init__(
        self,
        size: int,
        linear_size: int,
        attention_size: int,
        block_id: int,
        num_blocks: int,
        normalization_att: nn.Module,
        normalization_ffn: nn.Module,
        att_dropout_rate: float = 0.0,
        ffn_dropout_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.layer_norm_att = normalization_att
        self.layer_norm_ffn = normalization_ffn
        self.att = SelfAttention(size, attention_size, block_id, num_blocks)
        self.dropout_att = nn.Dropout(att_dropout_rate)
        self.ffn = FeedForward(size, linear_size, block_id, num_blocks)
        self.dropout_ffn = nn.Dropout(ffn_dropout_rate)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) to (B, L, D)."""
        x = x + self.dropout_att(self.att(self.layer_norm_att(x)))
        out: Tensor = x + self.dropout_ffn(self.ffn(self.layer_norm_ffn(x)))
        return out


class SelfAttention(nn.Module):
    """Time mixing.

    Args: see `RWKV`.
    """

    def __init__(self, size: int, attention_size: int, block_id: int, num_blocks: int) -> None:
        super().__init__()
        self.time_decay = nn.Parameter(torch.empty(attention_size))
        self.time_first = nn.Parameter(torch.empty(attention_size))
        self.time_mix_key = nn.Parameter(torch.empty(1, 1, size))
        self.time_mix_value = nn.Parameter(torch.empty(1, 1, size))
        self.time_mix_receptance = nn.Parameter(torch.empty(1, 1, size))
        self.proj_key = nn.Linear(size, attention_size)
        self.proj_value = nn.Linear(size, attention_size)
        self.proj_receptance = nn.Linear(size, attention_size)
        self.proj_output = nn.Linear(attention_size, size)
        self.reset_parameters(block_id, num_blocks)

    @torch.no_grad()
    def reset_parameters(self, block_id: int, num_blocks: int) -> None:
        """Set the decay and the mixing of the block as ESPnet does."""
        depth = block_id / (num_blocks - 1)
        height = 1.0 - block_id / num_blocks
        channel = torch.linspace(0, 1, self.time_decay.numel())
        self.time_decay.copy_(-5.0 + 8.0 * channel ** (0.7 + 1.3 * depth))
        # RWKV's own is log 0.3 and a zigzag; ESPnet takes ones_like of that.
        self.time_first.fill_(1.0)
        feature = _features(self.time_mix_key)
        self.time_mix_key.copy_(feature**height)
        self.time_mix_value.copy_(feature**height + 0.3 * depth)
        self.time_mix_receptance.copy_(feature ** (0.5 * height))

    def project(self, x: Tensor, previous: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the key, the value and the receptance of inputs, each (..., A).

        Args:
            x: (..., D).
            previous: (..., D), the input before each: zeros before the first.
        """
        key = self.proj_key(_mix(x, previous, self.time_mix_key))
        value = self.proj_value(_mix(x, previous, self.time_mix_value))
        receptance = self.proj_receptance(_mix(x, previous, self.time_mix_receptance))
        return key, value, torch.sigmoid(receptance)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) to (B, L, D)."""
        key, value, receptance = self.project(x, _shift(x))
        out: Tensor = self.proj_output(
            receptance * wkv(-self.time_decay.exp(), self.time_first, key, value)
        )
        return out


class FeedForward(nn.Module):
    """Channel mixing: sigmoid(receptance) V(relu(K)^2).

    Args: see `RWKV`; hidden_size is its linear_size.
    """

    def __init__(self, size: int, hidden_size: int, block_id: int, num_blocks: int) -> None:
        super().__init__()
        self.time_mix_key = nn.Parameter(torch.empty(1, 1, size))
        self.time_mix_receptance = nn.Parameter(torch.empty(1, 1, size))
        self.proj_key = nn.Linear(size, hidden_size)
        self.proj_value = nn.Linear(hidden_size, size)
        self.proj_receptance = nn.Linear(size, size)
        self.reset_parameters(block_id, num_blocks)

    @torch.no_grad()
    def reset_parameters(self, block_id: int, num_blocks: int) -> None:
        """Set the mixing of the block as ESPnet does."""
        height = 1.0 - block_id / num_blocks
        for weight in (self.time_mix_key, self.time_mix_receptance):
            weight.copy_(_features(weight) ** height)

    def project(self, x: Tensor, previous: Tensor) -> tuple[Tensor, Tensor]:
        """Return the squared key (..., hidden_size) and the receptance (..., D) of inputs.

        Args:
            x: (..., D).
            previous: (..., D), the input before each: zeros before the first.
        """
        key = torch.relu(self.proj_key(_mix(x, previous, self.time_mix_key))).square()
        receptance = self.proj_receptance(_mix(x, previous, self.time_mix_receptance))
        return key, torch.sigmoid(receptance)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) to (B, L, D)."""
        key, receptance = self.project(x, _shift(x))
        out: Tensor = receptance * self.proj_value(key)
        return out


def wkv(decay: Tensor, first: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attend over whole sequences.

    Args:
        decay: (A,), below 0.
        first: (A,), what the newest key has more.
        key: (B, L, A).
        value: (B, L, A).

    Returns:
        (B, L, A), in the dtype of `key`; half precision is computed in float32.
    """
    wide = torch.promote_types(key.dtype, torch.float32)
    decay, first = decay.to(wide), first.to(wide)
    numerator = denominator = torch.zeros_like(key[:, 0], dtype=wide)
    maximum = torch.full_like(numerator, MAXIMUM_START)
    outputs = []
    for k, v in zip(key.to(wide).unbind(1), value.to(wide).unbind(1), strict=True):
        out, numerator, denominator, maximum = wkv_step(
            decay, first, k, v, numerator, denominator, maximum
        )
        outputs.append(out)
    return torch.stack(outputs, 1).to(key.dtype)


def wkv_step(
    decay: Tensor,
    first: Tensor,
    key: Tensor,
    value: Tensor,
    numerator: Tensor,
    denominator: Tensor,
    maximum: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Attend with one more key and value, all (B, A) but decay and first, (A,).

    Args:
        decay: see `wkv`.
        first: see `wkv`.
        key: the new one.
        value: the new one.
        numerator: the sum of the values so far, times e^-maximum.
        denominator: that of their weights.
        maximum: what the two are scaled by.

    Returns:
        What is attended to, and the next numerator, denominator and maximum.
    """
    # The scale cancels out, so it has no gradient.
    scale = torch.maximum(maximum, first + key).detach()
    old, new = torch.exp(maximum - scale), torch.exp(first + key - scale)
    out = (old * numerator + new * value) / (old * denominator + new)
    scale = torch.maximum(maximum + decay, key).detach()
    old, new = torch.exp(maximum + decay - scale), torch.exp(key - scale)
    return out, old * numerator + new * value, old * denominator + new, scale


def _mix(x: Tensor, previous: Tensor, weight: Tensor) -> Tensor:
    """Mix inputs (..., D) with those before them."""
    weight = weight.flatten()
    return x * weight + previous * (1.0 - weight)


def _shift(x: Tensor) -> Tensor:
    """Return the input before each of (B, L, D)."""
    return nn.functional.pad(x, (0, 0, 1, -1))


def _features(weight: Tensor) -> Tensor:
    """Return i / D for each feature i of a weight (1, 1, D)."""
    return torch.arange(weight.size(-1)).view_as(weight) / weight.size(-1)
