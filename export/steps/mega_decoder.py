"""One step of a MEGA decoder as a graph with static shapes: label in, decoder output out.

What grows in ESPnet's decoding, the keys and values of all labels so far, is here a window of
the last N of them, oldest first, right-aligned. The graph only reads it and returns the new
row, which the host appends (`deploy_bias.bundle.window` has the rules). The window and the bias
are both
relative to the newest label, so the bias over the window is a constant vector, and sliding the
window is exact for all that fits in it.

A step attends to the N rows and to the new one, so N + 1 positions must fit in max_positions:
N is at most max_positions - 1. A chunk is a window's whole context, so with chunks N is
chunk_size - 1, neither less nor more.

Chosen by measurement, at ESPnet's recipe size, fp32, one x86-64 thread:
- A window is an input for each block. All blocks in one tensor would be sliced, and so copied:
  at 1,000 rows 8.1 ms a step against 4.6 on ExecuTorch, 4.0 against 2.7 on ONNX Runtime. The EMA
  state and the new rows are small, so they are one tensor each.
- query x keys transposed, and not keys x query, whose one-column product XNNPACK is slower at:
  0.07 ms against 0.12 for 6 blocks of 1,000 rows. ONNX Runtime is as fast with either.
- proj_mx is split into its four linear layers: a split between delegates would cut the graph.
- Only the *scores* of window and new row are concatenated; concatenated keys and values would
  be copied.

Legend of the shapes: B batch (hypotheses), N context, M num_blocks, D block_size, H num_heads,
K qk_size, V v_size.
"""

import copy
from typing import cast

import torch
from torch import Tensor, nn

from deploy_bias.export.steps.normalization import step_normalization
from deploy_bias.export.steps.stack import layer_of, stack
from deploy_bias.model.decoder.feed_forward import NormalizedPositionwiseFeedForward
from deploy_bias.model.decoder.mega import MEGA
from deploy_bias.model.decoder.mega_decoder import MEGADecoder


class MEGADecoderStep(nn.Module):
    """What ESPnet's `MEGADecoder.inference` computes, as a graph; made from a decoder's weights.

    It is a snapshot: what is loaded into the decoder later does not reach it. It is in eval mode,
    its weights need no gradient, and it has the dtype and device of the decoder.

    Args:
        decoder: what to decode with.
        context: N, the rows of a window: 1 to max_positions - 1 without chunks, and
            chunk_size - 1 with them.
        batch: B, 1 or more.

    Raises:
        ValueError: `context` does not fit the decoder, or `batch` is less than 1.
    """

    steps_back: Tensor

    def __init__(self, decoder: MEGADecoder, context: int, batch: int = 1) -> None:
        super().__init__()
        _check_context(decoder, context)
        if batch < 1:
            raise ValueError(f"batch must be at least 1, got {batch}.")
        self.context = context
        self.batch = batch
        decoder = copy.deepcopy(decoder).eval()
        self.embed = decoder.embed
        self.blocks = nn.ModuleList(
            _BlockStep(mega, feed_forward, context) for mega, feed_forward in decoder.blocks()
        )
        self.final_norm = step_normalization(decoder.final_norm)
        steps_back = torch.arange(context, 0, -1, device=decoder.embed.weight.device)
        self.register_buffer("steps_back", steps_back)
        self.requires_grad_(False)
        self.eval()

    def forward(
        self,
        label: Tensor,
        valid: Tensor,
        ema_state: Tensor,
        key_windows: list[Tensor],
        value_windows: list[Tensor],
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Feed one label to each hypothesis.

        Args:
            label: (B, 1) int64, 0 to vocab_size - 1.
            valid: (B,) int64, 0 to N: how many of the last rows of its windows each hypothesis
                has. The rows before them are never seen, whatever (finite) they hold.
            ema_state: (M, B, D, H), zeros before the first label.
            key_windows: M tensors (B, N, K), right-aligned, oldest first.
            value_windows: M tensors (B, N, V), likewise.

        Returns:
            The decoder output (B, D), the next EMA state (M, B, D, H), and the rows that the host
            appends to the windows: new keys (M, B, K) and new values (M, B, V).
        """
        x = self.embed(label).view(self.batch, -1)
        # Added to a score, this leaves a softmax weight of exactly 0.
        least = torch.finfo(x.dtype).min
        hidden = (self.steps_back > valid.unsqueeze(1)).to(x.dtype) * least
        states, keys, values = [], [], []
        for index, block in enumerate(self.blocks):
            state = layer_of(ema_state, index)
            x, state, key, value = block(x, hidden, state, key_windows[index], value_windows[index])
            states.append(state)
            keys.append(key)
            values.append(value)
        return self.final_norm(x), stack(states), stack(keys), stack(values)

    def example_inputs(self) -> tuple[Tensor, Tensor, Tensor, list[Tensor], list[Tensor]]:
        """Return inputs of `forward`: label 0 with an empty context, all zeros."""
        empty = [cast("_BlockStep", block).empty(self.batch, self.context) for block in self.blocks]
        states, keys, values = zip(*empty, strict=True)
        label = torch.zeros(self.batch, 1, dtype=torch.int64, device=self.steps_back.device)
        return label, label.view(-1).clone(), torch.stack(states), list(keys), list(values)


class _BlockStep(nn.Module):
    """One MEGA block and its feed-forward half, for one label of each hypothesis."""

    input_weight: Tensor
    decay: Tensor
    output_weight: Tensor
    head_sum: Tensor
    residual_weight: Tensor
    query_weight: Tensor
    query_bias: Tensor
    key_weight: Tensor
    key_bias: Tensor
    bias_window: Tensor
    bias_new: Tensor

    def __init__(
        self, mega: MEGA, feed_forward: NormalizedPositionwiseFeedForward, context: int
    ) -> None:
        super().__init__()
        self.activation = mega.activation
        self.proj_v, self.proj_h = mega.proj_v, mega.proj_h
        self.linear1, self.linear2 = feed_forward.linear1, feed_forward.linear2
        self.to_residual_weight, self.to_qk, self.to_gate, self.to_intermediate = _split(
            mega.proj_mx, mega.mix_sizes()
        )
        self.mega_norm = step_normalization(mega.normalization)
        self.feed_forward_norm = step_normalization(feed_forward.normalization)
        ema = mega.multihead_damped_ema
        input_weight, decay, output_weight = ema.coefficients()
        scaling = mega.qk_size**-0.5
        bias = mega.rel_pos_bias.diagonals(1, context + 1)
        for name, constant in {
            "input_weight": input_weight,
            "decay": decay,
            "output_weight": output_weight,
            "head_sum": torch.ones_like(output_weight[:1]),
            "residual_weight": ema.residual_weight,
            "query_weight": mega.qk_weight[0] * scaling,
            "query_bias": mega.qk_bias[0] * scaling,
            "key_weight": mega.qk_weight[1],
            "key_bias": mega.qk_bias[1],
            "bias_window": bias[:context],
            "bias_new": bias[context:],
        }.items():
            self.register_buffer(name, constant.detach().clone())

    def empty(self, batch: int, context: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return an EMA state (B, D, H), a key (B, N, K) and a value window (B, N, V) of zeros."""
        zeros = self.decay.new_zeros
        return (
            zeros(batch, *self.decay.shape),
            zeros(batch, context, self.key_weight.size(0)),
            zeros(batch, context, self.proj_v.out_features),
        )

    def forward(
        self, x: Tensor, hidden: Tensor, state: Tensor, keys: Tensor, values: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        batch, context, _ = keys.shape
        value = self.activation(self.proj_v(x))

        state = self.decay * state + self.input_weight * x.unsqueeze(-1)
        # The sum over the heads as a linear layer: XNNPACK has no sum.
        average = nn.functional.linear(state * self.output_weight, self.head_sum).view(x.shape)
        average = self.activation(average + x * self.residual_weight)

        qk = self.activation(self.to_qk(average))
        query = (qk * self.query_weight + self.query_bias).view(batch, 1, -1)
        key = qk * self.key_weight + self.key_bias
        score_window = torch.bmm(query, keys.transpose(1, 2)).view(batch, context)
        score_new = torch.bmm(query, key.unsqueeze(-1)).view(batch, 1)
        scores = torch.cat(
            [score_window + (self.bias_window + hidden), score_new + self.bias_new], dim=-1
        )
        weights = torch.softmax(scores, dim=-1)
        weights_window = weights[:, :context].view(batch, 1, context)
        attended = torch.bmm(weights_window, values).view(batch, -1)
        attended = attended + weights[:, context:] * value

        gate = self.activation(self.to_gate(average))
        update = self.activation(self.to_intermediate(average) + self.proj_h(attended * gate))
        residual_weight = torch.sigmoid(self.to_residual_weight(average))
        x = self.mega_norm(x + residual_weight * (update - x))
        x = self.feed_forward_norm(self.linear2(self.activation(self.linear1(x))) + x)
        return x, state, key, value


def _check_context(decoder: MEGADecoder, context: int) -> None:
    most = decoder.positions - 1
    if decoder.chunk_size == 1:
        raise ValueError("chunk_size must be at least 2 to decode label by label, got 1.")
    if decoder.chunk_size > 0 and context != most:
        raise ValueError(
            f"context must be chunk_size - 1 = {most} for this decoder, got {context}."
        )
    if not 1 <= context <= most:
        raise ValueError(
            f"context must be 1 to max_positions - 1 = {most} for this decoder, got {context}."
        )


def _split(linear: nn.Linear, sizes: list[int]) -> list[nn.Linear]:
    """Return linear layers that give the consecutive parts of what `linear` gives."""
    parts = []
    for weight, bias in zip(linear.weight.split(sizes), linear.bias.split(sizes), strict=True):
        part = nn.Linear(weight.size(1), weight.size(0), device="meta")
        part.weight = nn.Parameter(weight.detach().clone())
        part.bias = nn.Parameter(bias.detach().clone())
        parts.append(part)
    return parts
