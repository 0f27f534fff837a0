"""Random models of the kinds that people export, all of them sound."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from deploy_bias.bundle.contract import Append
from tests.espnet.models import perturb

ACTIVATIONS = [nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.ELU, nn.LeakyReLU, nn.Hardswish]


class Sample(NamedTuple):
    module: nn.Module
    example_inputs: tuple[Tensor, ...]
    options: dict


class Mixer(nn.Module):
    """Two inputs, two outputs: gated, summed over time, normalised."""

    def __init__(self, size: int, activation: nn.Module) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(size, size), nn.Linear(size, size)
        self.norm = nn.LayerNorm(size)
        self.activation = activation

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        mixed = self.activation(self.left(x)) * torch.sigmoid(self.right(y))
        return self.norm(mixed + x), (mixed + y).mean(1)


class Pool(nn.Module):
    """Statistics of a whole utterance: mean and deviation, and a running sum besides."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.project = nn.Linear(2 * size, size)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, deviation = x.mean(1), (x.var(1) + 1e-5).sqrt()
        return self.project(torch.cat([mean, deviation], -1)), x.cumsum(1)


class Cell(nn.Module):
    """A recurrent step with its state as input and output."""

    def __init__(self, kind: type[nn.RNNCellBase], size: int, hidden: int) -> None:
        super().__init__()
        self.cell = kind(size, hidden)
        self.out = nn.Linear(hidden, size)

    def forward(self, x: Tensor, hidden: Tensor) -> dict[str, Tensor]:
        state = self.cell(x, hidden)
        return {"logits": self.out(state), "next_hidden": state}


class Memory(nn.Module):
    """An LSTM step: the state is a pair."""

    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(size, hidden)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return self.cell(x, state)


class Attention(nn.Module):
    """One label against a window of keys; the window moves by the new row."""

    def __init__(self, vocab: int, size: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocab, size)
        self.query, self.key = nn.Linear(size, size), nn.Linear(size, size)
        self.out = nn.Linear(size, vocab)

    def forward(self, label: Tensor, window: Tensor) -> tuple[Tensor, Tensor]:
        x = self.embed(label)
        key = torch.tanh(self.key(x))
        seen = torch.cat([window, key.unsqueeze(1)], 1)
        weights = torch.softmax(self.query(x).unsqueeze(1) @ seen.transpose(1, 2), -1)
        return self.out((weights @ seen).squeeze(1) + x), key


def random_model(seed: int) -> Sample:
    """Return a model with random sizes and parameters, and how it is called."""
    torch.manual_seed(seed)

    def pick(*options):
        return options[int(torch.randint(len(options), ()))]

    def sizes(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, ()))

    size, batch = sizes(2, 24), sizes(1, 3)
    kinds = [
        *(_mlp, _conv1d, _conv2d, _transformer, _mixer, _cell, _memory, _attention, _bag, _pool),
    ]
    module, inputs, options = kinds[seed % len(kinds)](pick, sizes, size, batch)
    return Sample(perturb(module, pick(0.02, 0.1, 0.3)), inputs, options)


def _mlp(pick, sizes, size, batch):
    layers, width = [], size
    for _ in range(sizes(1, 4)):
        wider = sizes(2, 32)
        norm = pick(nn.Identity, nn.LayerNorm, nn.BatchNorm1d, nn.RMSNorm)
        layers += [nn.Linear(width, wider), pick(*ACTIVATIONS)(), norm(wider)]
        width = wider
    layers.append(pick(nn.Identity(), nn.Softmax(-1), nn.LogSoftmax(-1)))
    return nn.Sequential(*layers), (torch.randn(batch, size),), {}


def _conv1d(pick, sizes, size, batch):
    groups = pick(1, 1, size)
    layers = nn.Sequential(
        nn.Conv1d(size, 2 * size, sizes(1, 5), padding=2, groups=groups),
        nn.BatchNorm1d(2 * size),
        pick(*ACTIVATIONS)(),
        nn.Conv1d(2 * size, size, 3, stride=pick(1, 2)),
        nn.GroupNorm(1, size),
    )
    return layers, (torch.randn(batch, size, sizes(10, 30)),), {}


def _conv2d(pick, sizes, size, batch):
    channels = sizes(2, 8)
    layers = nn.Sequential(
        nn.Conv2d(3, channels, 3, padding=1),
        nn.BatchNorm2d(channels),
        pick(*ACTIVATIONS)(),
        pick(nn.MaxPool2d(2), nn.AvgPool2d(2)),
        nn.Conv2d(channels, 4, 3, stride=2),
        nn.Flatten(),
        nn.Linear(4 * 3 * 3, 5),
    )
    return layers, (torch.randn(1, 3, 16, 16),), {}


def _transformer(pick, sizes, size, batch):
    layer = nn.TransformerEncoderLayer(
        4 * size, 2, 3 * size, batch_first=True, norm_first=pick(True, False), activation="gelu"
    )
    return layer, (torch.randn(batch, sizes(2, 9), 4 * size),), {}


def _mixer(pick, sizes, size, batch):
    shape = (batch, sizes(2, 9), size)
    return Mixer(size, pick(*ACTIVATIONS)()), (torch.randn(shape), torch.randn(shape)), {}


def _cell(pick, sizes, size, batch):
    hidden = sizes(3, 20)
    cell = Cell(pick(nn.GRUCell, nn.RNNCell), size, hidden)
    inputs = (torch.randn(batch, size), torch.zeros(batch, hidden))
    return cell, inputs, {"state": {"hidden": "next_hidden"}}


def _pool(pick, sizes, size, batch):
    return Pool(size), (pick(0.1, 1.0, 10.0) * torch.randn(batch, sizes(3, 900), size),), {}


def _memory(pick, sizes, size, batch):
    hidden = sizes(3, 20)
    zeros = torch.zeros(batch, hidden)
    inputs = (torch.randn(batch, size), (zeros, zeros.clone()))
    return Memory(size, hidden), inputs, {"state": {"state_0": "output_0", "state_1": "output_1"}}


def _attention(pick, sizes, size, batch):
    vocab = sizes(5, 20)
    inputs = (torch.randint(vocab, (batch,)), torch.zeros(batch, sizes(2, 6), size))
    rule = Append(input="window", output="output_1")
    options = {"state": {"window": rule}, "ranges": {"label": (0, vocab - 1)}}
    return Attention(vocab, size), inputs, options


def _bag(pick, sizes, size, batch):
    vocab = sizes(5, 20)
    layers = nn.Sequential(nn.Embedding(vocab, size), nn.LayerNorm(size), nn.Linear(size, 3))
    return layers, (torch.randint(vocab, (batch, 7)),), {"ranges": {"input": (0, vocab - 1)}}
