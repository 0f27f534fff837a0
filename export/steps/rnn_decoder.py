"""One step of an LSTM or GRU decoder as a graph: label and state in, output and next state out.

torch's own LSTM leaves 7 delegates and 23 operators beside them on ExecuTorch. Here a layer is
linear layers and elementwise operators, and the whole step is one delegate but for the embedding.

Chosen by measurement, 256 features, fp32, one x86-64 thread: the gates of an LSTM are one linear
layer over the input and the hidden state side by side, its result cut in four (0.15 ms; with a
layer for each gate 0.25). Of a GRU so are the reset and the update gate; the new gate's two
halves stand apart, for the reset gate comes between them.

Legend of the shapes: B batch (hypotheses), N num_layers, H hidden_size.
"""

import copy
from typing import cast

import torch
from torch import Tensor, nn

from deploy_bias.export.steps.stack import layer_of, stack
from deploy_bias.model.decoder.rnn_decoder import RNNDecoder


class RNNDecoderStep(nn.Module):
    """What ESPnet's `RNNDecoder.score` computes, as a graph; a snapshot of the weights.

    It is in eval mode, needs no gradient, and has the dtype and device of the decoder.

    Args:
        decoder: what to decode with.
        batch: B, 1 or more.

    Raises:
        ValueError: `batch` is less than 1.
    """

    def __init__(self, decoder: RNNDecoder, batch: int = 1) -> None:
        super().__init__()
        if batch < 1:
            raise ValueError(f"batch must be at least 1, got {batch}.")
        self.batch = batch
        self.hidden_size = decoder.output_size
        self.embed = copy.deepcopy(decoder.embed)
        # How many states a layer has: hidden and cell, or hidden alone.
        self.states = 2 if decoder.rnn_type == "lstm" else 1
        layer_step = _LSTMStep if decoder.rnn_type == "lstm" else _GRUStep
        self.layers = nn.ModuleList(layer_step(cast("nn.RNNBase", layer)) for layer in decoder.rnn)
        self.requires_grad_(False)
        self.eval()

    def forward(self, label: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """Feed one label to each hypothesis.

        Args:
            label: (B, 1) int64, 0 to vocab_size - 1.
            states: hidden, and of an LSTM cell, each (N, B, H); zeros before the first label.

        Returns:
            The decoder output (B, H), and the next states.
        """
        x = self.embed(label).view(self.batch, -1)
        after = []
        for index, layer in enumerate(self.layers):
            reached = layer(x, *[layer_of(state, index) for state in states])
            after.append(reached)
            x = reached[0]
        return x, *[stack(list(rows)) for rows in zip(*after, strict=True)]

    def example_inputs(self) -> tuple[Tensor, ...]:
        """Return inputs of `forward`: label 0 with states of zeros."""
        weight = self.embed.weight
        label = torch.zeros(self.batch, 1, dtype=torch.int64, device=weight.device)
        # Tensors of their own: an exporter takes the same tensor twice for one input.
        shape = (len(self.layers), self.batch, self.hidden_size)
        return label, *[weight.new_zeros(shape) for _ in range(self.states)]


class _LSTMStep(nn.Module):
    """hidden, cell (B, H) after one input."""

    def __init__(self, lstm: nn.RNNBase) -> None:
        super().__init__()
        self.hidden_size = lstm.hidden_size
        self.gates = _side_by_side(lstm, slice(None))

    def forward(self, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        gates = self.gates(torch.cat([x, hidden], dim=-1))
        size = self.hidden_size
        keep, forget, new, out = (gates.narrow(1, i * size, size) for i in range(4))
        cell = torch.sigmoid(forget) * cell + torch.sigmoid(keep) * torch.tanh(new)
        return torch.sigmoid(out) * torch.tanh(cell), cell


class _GRUStep(nn.Module):
    """hidden (B, H) after one input."""

    def __init__(self, gru: nn.RNNBase) -> None:
        super().__init__()
        size = self.hidden_size = gru.hidden_size
        self.gates = _side_by_side(gru, slice(2 * size))
        weight_ih, weight_hh, bias_ih, bias_hh = _parameters(gru, slice(2 * size, None))
        self.new_input = _linear(weight_ih, bias_ih)
        self.new_hidden = _linear(weight_hh, bias_hh)

    def forward(self, x: Tensor, hidden: Tensor) -> tuple[Tensor]:
        gates = torch.sigmoid(self.gates(torch.cat([x, hidden], dim=-1)))
        size = self.hidden_size
        reset, update = gates.narrow(1, 0, size), gates.narrow(1, size, size)
        new = torch.tanh(self.new_input(x) + reset * self.new_hidden(hidden))
        return (new + update * (hidden - new),)


def _parameters(layer: nn.RNNBase, rows: slice) -> list[Tensor]:
    """Return rows of weight_ih, weight_hh, bias_ih and bias_hh."""
    return [parameter[rows] for parameter in layer.all_weights[0]]


def _side_by_side(layer: nn.RNNBase, rows: slice) -> nn.Linear:
    """Return rows of a layer's two products as one, of input and hidden state side by side."""
    weight_ih, weight_hh, bias_ih, bias_hh = _parameters(layer, rows)
    return _linear(torch.cat([weight_ih, weight_hh], dim=1), bias_ih + bias_hh)


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    linear = nn.Linear(weight.size(1), weight.size(0), device="meta")
    linear.weight = nn.Parameter(weight.detach().clone())
    linear.bias = nn.Parameter(bias.detach().clone())
    return linear
