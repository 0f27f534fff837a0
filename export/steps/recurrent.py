"""One step of a recurrent layer: linear layers and elementwise operators, which delegates take.

Chosen by measurement, 256 features, fp32, one x86-64 thread: the gates of an LSTM are one linear
layer over the input and the hidden state side by side, its result cut in four (0.15 ms; with a
layer for each gate 0.25). Of a GRU so are the reset and the update gate; the new gate's two
halves stand apart, for the reset gate comes between them.

Legend of the shapes: B batch (hypotheses), H hidden_size.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from deploy_bias.export.steps.stack import layer_of, stack


def recurrent_step(layer: nn.RNNBase) -> nn.Module:
    """Return the step of a module of one layer, nn.LSTM, nn.GRU or nn.RNN; a snapshot."""
    if isinstance(layer, nn.RNN):
        return RNNStep(layer)
    return LSTMStep(layer) if isinstance(layer, nn.LSTM) else GRUStep(layer)


class LSTMStep(nn.Module):
    """hidden, cell (B, H) after one input."""

    def __init__(self, lstm: nn.RNNBase) -> None:
        super().__init__()
        self.hidden_size = lstm.hidden_size
        self.gates = _side_by_side(lstm, slice(None))

    def forward(self, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next hidden and cell."""
        gates = self.gates(torch.cat([x, hidden], dim=-1))
        size = self.hidden_size
        keep, forget, new, out = (gates.narrow(1, i * size, size) for i in range(4))
        cell = torch.sigmoid(forget) * cell + torch.sigmoid(keep) * torch.tanh(new)
        return torch.sigmoid(out) * torch.tanh(cell), cell


class GRUStep(nn.Module):
    """hidden (B, H) after one input."""

    def __init__(self, gru: nn.RNNBase) -> None:
        super().__init__()
        size = self.hidden_size = gru.hidden_size
        self.gates = _side_by_side(gru, slice(2 * size))
        weight_ih, weight_hh, bias_ih, bias_hh = _parameters(gru, slice(2 * size, None))
        self.new_input = _linear(weight_ih, bias_ih)
        self.new_hidden = _linear(weight_hh, bias_hh)

    def forward(self, x: Tensor, hidden: Tensor) -> tuple[Tensor]:
        """Return the next hidden."""
        gates = torch.sigmoid(self.gates(torch.cat([x, hidden], dim=-1)))
        size = self.hidden_size
        reset, update = gates.narrow(1, 0, size), gates.narrow(1, size, size)
        new = torch.tanh(self.new_input(x) + reset * self.new_hidden(hidden))
        return (new + update * (hidden - new),)


class RNNStep(nn.Module):
    """hidden (B, H) after one input, of a layer without gates."""

    def __init__(self, rnn: nn.RNN) -> None:
        super().__init__()
        self.both = _side_by_side(rnn, slice(None))
        self.activation = torch.tanh if rnn.nonlinearity == "tanh" else torch.relu

    def forward(self, x: Tensor, hidden: Tensor) -> tuple[Tensor]:
        """Return the next hidden."""
        return (self.activation(self.both(torch.cat([x, hidden], dim=-1))),)


def run_layers(
    layers: Iterable[nn.Module], x: Tensor, states: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """Run one layer after the other.

    Args:
        layers: N steps of this file.
        x: (B, C) of the first.
        states: (N, B, H) each; hidden, and of an LSTM cell.

    Returns:
        The hidden state (B, H) of the last one, and the next states.
    """
    after = []
    for index, layer in enumerate(layers):
        reached = layer(x, *[layer_of(state, index) for state in states])
        after.append(reached)
        x = reached[0]
    return x, [stack(list(rows)) for rows in zip(*after, strict=True)]


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
