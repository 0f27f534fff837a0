"""One step of an RWKV decoder as a graph: label and state in, output and next state out.

Two things of ESPnet's decoding are not as in its training, and here by name:

- start: the maximum before the first label. "clean" is that of the training kernel, -1e38;
  "espnet" is that of its `init_state`, -1e-30: keys far below 0 then underflow, and from -104 on
  every step is NaN.
- rescale, of a decoder with rescale_every r: "espnet" divides the weights of the last projections
  of block i by 2^(i // r) and halves what every r blocks give, as `Speech2Text` does. The biases
  are not divided, so results change. "clean" does nothing of that, as in training.

Legend of the shapes: B batch (hypotheses), M num_blocks, D block_size, A attention_size.
"""

import copy
from typing import cast

import torch
from torch import Tensor, nn

from deploy_bias.export.steps.normalization import step_normalization
from deploy_bias.export.steps.stack import layer_of, stack
from deploy_bias.model.decoder.rwkv import MAXIMUM_START, RWKV
from deploy_bias.model.decoder.rwkv_decoder import RWKVDecoder

FIRST_MAXIMUM = {"clean": MAXIMUM_START, "espnet": -1e-30}
"""The maximum before the first label, by start."""


class RWKVDecoderStep(nn.Module):
    """What ESPnet's `RWKVDecoder.inference` computes, as a graph; a snapshot of the weights.

    It is in eval mode, needs no gradient, and has the dtype and device of the decoder.

    Args:
        decoder: what to decode with.
        batch: B, 1 or more.
        rescale: "espnet" or "clean".

    Raises:
        ValueError: `rescale` is neither, or `batch` is less than 1.
    """

    def __init__(self, decoder: RWKVDecoder, batch: int = 1, rescale: str = "espnet") -> None:
        super().__init__()
        if batch < 1:
            raise ValueError(f"batch must be at least 1, got {batch}.")
        if rescale not in ("espnet", "clean"):
            raise ValueError(f"rescale must be espnet or clean, got {rescale!r}.")
        self.batch = batch
        decoder = copy.deepcopy(decoder).eval()
        self.embed = decoder.embed
        self.embed_norm = step_normalization(decoder.embed_norm)
        self.final_norm = step_normalization(decoder.final_norm)
        every = decoder.rescale_every if rescale == "espnet" else 0
        # Never is after more blocks than there are.
        every = every if every > 0 else decoder.num_blocks + 1
        self.blocks = nn.ModuleList(
            _BlockStep(block, scale=2.0 ** -(index // every), halve=(index + 1) % every == 0)
            for index, block in enumerate(decoder.blocks())
        )
        self.requires_grad_(False)
        self.eval()

    def forward(
        self,
        label: Tensor,
        feed_forward_input: Tensor,
        attention_input: Tensor,
        numerator: Tensor,
        denominator: Tensor,
        maximum: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Feed one label to each hypothesis.

        Args:
            label: (B, 1) int64, 0 to vocab_size - 1.
            feed_forward_input: (M, B, D), what each feed-forward was last fed, normalised.
            attention_input: (M, B, D), what each attention was.
            numerator: (M, B, A), see `deploy_bias.model.decoder.rwkv.wkv_step`.
            denominator: (M, B, A), likewise.
            maximum: (M, B, A), likewise; before the first label `FIRST_MAXIMUM`, and the other
                states zeros.

        Returns:
            The decoder output (B, D), and the next states in the same order.
        """
        states = (feed_forward_input, attention_input, numerator, denominator, maximum)
        x = self.embed_norm(self.embed(label).view(self.batch, -1))
        after = []
        for index, block in enumerate(self.blocks):
            x, *reached = block(x, *[layer_of(state, index) for state in states])
            after.append(reached)
        first, second, third, fourth, fifth = (
            stack(list(rows)) for rows in zip(*after, strict=True)
        )
        return self.final_norm(x), first, second, third, fourth, fifth

    def example_inputs(self, start: str = "clean") -> tuple[Tensor, ...]:
        """Return inputs of `forward`: label 0 with the states before it."""
        weight = self.embed.weight
        label = torch.zeros(self.batch, 1, dtype=torch.int64, device=weight.device)
        attention_size = cast("_BlockStep", self.blocks[0]).time_first.numel()
        sizes = [weight.size(1)] * 2 + [attention_size] * 3
        # Tensors of their own: an exporter takes the same tensor twice for one input.
        states = [weight.new_zeros(len(self.blocks), self.batch, size) for size in sizes]
        states[-1].fill_(FIRST_MAXIMUM[start])
        return label, *states


class _BlockStep(nn.Module):
    """One block, for one label of each hypothesis."""

    decay: Tensor
    time_first: Tensor

    def __init__(self, block: RWKV, scale: float, halve: bool) -> None:
        super().__init__()
        self.halve = halve
        self.attention_norm = step_normalization(block.layer_norm_att)
        self.feed_forward_norm = step_normalization(block.layer_norm_ffn)
        att, ffn = block.att, block.ffn
        self.attention_key = _Mixed(att.time_mix_key, att.proj_key)
        self.attention_value = _Mixed(att.time_mix_value, att.proj_value)
        self.attention_receptance = _Mixed(att.time_mix_receptance, att.proj_receptance)
        self.attention_output = _scaled(att.proj_output, scale)
        self.feed_forward_key = _Mixed(ffn.time_mix_key, ffn.proj_key)
        self.feed_forward_receptance = _Mixed(ffn.time_mix_receptance, ffn.proj_receptance)
        self.feed_forward_value = _scaled(ffn.proj_value, scale)
        self.register_buffer("decay", -att.time_decay.detach().exp())
        self.register_buffer("time_first", att.time_first.detach().clone())

    def forward(
        self,
        x: Tensor,
        feed_forward_input: Tensor,
        attention_input: Tensor,
        numerator: Tensor,
        denominator: Tensor,
        maximum: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        before, attention_input = attention_input, self.attention_norm(x)
        key = self.attention_key(attention_input, before)
        value = self.attention_value(attention_input, before)
        receptance = torch.sigmoid(self.attention_receptance(attention_input, before))

        newest = self.time_first + key
        top = torch.maximum(maximum, newest)
        old, new = torch.exp(maximum - top), torch.exp(newest - top)
        attended = (old * numerator + new * value) / (old * denominator + new)
        x = x + self.attention_output(receptance * attended)

        decayed = maximum + self.decay
        maximum = torch.maximum(decayed, key)
        old, new = torch.exp(decayed - maximum), torch.exp(key - maximum)
        numerator, denominator = old * numerator + new * value, old * denominator + new

        before, feed_forward_input = feed_forward_input, self.feed_forward_norm(x)
        key = torch.relu(self.feed_forward_key(feed_forward_input, before))
        receptance = torch.sigmoid(self.feed_forward_receptance(feed_forward_input, before))
        x = x + receptance * self.feed_forward_value(key * key)
        if self.halve:
            x = x * 0.5
        return x, feed_forward_input, attention_input, numerator, denominator, maximum


class _Mixed(nn.Module):
    """A linear layer over an input (B, D) that is mixed with the one before it."""

    weight: Tensor
    weight_before: Tensor

    def __init__(self, weight: Tensor, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear
        weight = weight.detach().flatten()
        self.register_buffer("weight", weight.clone())
        self.register_buffer("weight_before", 1.0 - weight)

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        out: Tensor = self.linear(x * self.weight + before * self.weight_before)
        return out


def _scaled(linear: nn.Linear, scale: float) -> nn.Linear:
    """Scale the weight of a linear layer by a power of two, in place; not its bias."""
    with torch.no_grad():
        linear.weight.mul_(scale)
    return linear
