"""Recurrent layers by their definition, each product apart: what their steps are proven against."""

from torch import Tensor, nn
from torch.nn import functional as F


def recur(layer: nn.RNNBase, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
    """Return the next states of a module of one layer, the output first.

    Args:
        layer: nn.LSTM, nn.GRU or nn.RNN.
        x: (B, input size).
        states: hidden, and of an LSTM cell, each (B, H).
    """
    if isinstance(layer, nn.RNN):
        of_x, of_hidden = _products(layer, x, states[0])
        both = of_x + of_hidden
        return (both.tanh() if layer.nonlinearity == "tanh" else both.relu(),)
    return _lstm(layer, x, *states) if isinstance(layer, nn.LSTM) else _gru(layer, x, *states)


def _products(layer: nn.RNNBase, x: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
    weight_ih, weight_hh, bias_ih, bias_hh = layer.all_weights[0]
    return F.linear(x, weight_ih, bias_ih), F.linear(hidden, weight_hh, bias_hh)


def _lstm(lstm: nn.RNNBase, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, ...]:
    """Return the next hidden and cell, each (B, H)."""
    of_x, of_hidden = _products(lstm, x, hidden)
    keep, forget, new, out = (of_x + of_hidden).chunk(4, dim=1)
    cell = forget.sigmoid() * cell + keep.sigmoid() * new.tanh()
    return out.sigmoid() * cell.tanh(), cell


def _gru(gru: nn.RNNBase, x: Tensor, hidden: Tensor) -> tuple[Tensor, ...]:
    """Return the next hidden, (B, H)."""
    of_x, of_hidden = (product.chunk(3, dim=1) for product in _products(gru, x, hidden))
    reset, update = (of_x[i] + of_hidden[i] for i in range(2))
    new = (of_x[2] + reset.sigmoid() * of_hidden[2]).tanh()
    update = update.sigmoid()
    return ((1 - update) * new + update * hidden,)
