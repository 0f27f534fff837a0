"""Known-bad files of one network: what scripts of other people do wrong, and where.

Each kind is a file of the network with one fault, made by torch.export, which leaves the fault as
it is. It must be red, and the first wrong operator must be the one that is said here.
"""

import copy
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deploy_bias.testing import ParityError, assert_export_parity

SIZE, HEADS, LENGTH, VOCAB = 8, 2, 5, 9


class Network(nn.Module):
    """Convolution, attention with a mask, an LSTM, and the labels that it prefers.

    A fault is a method that a subclass has otherwise.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.batch = nn.Conv1d(SIZE, SIZE, 3, padding=1), nn.BatchNorm1d(SIZE)
        self.embed = nn.Embedding(VOCAB, SIZE)
        self.position = nn.Parameter(torch.randn(LENGTH, SIZE))
        self.query, self.key, self.value = (nn.Linear(SIZE, SIZE) for _ in range(3))
        self.norm = nn.LayerNorm(SIZE)
        self.wide, self.narrow = nn.Linear(SIZE, 16), nn.Linear(16, SIZE)
        self.lstm = nn.LSTM(SIZE, SIZE, batch_first=True)
        self.out = nn.Linear(SIZE, VOCAB)

    def forward(self, x: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, SIZE), (B, T), (B, T) true where there is something."""
        x = self.front(x)
        x = x + self.embedded(ids) + self.positions()
        x = self.add(x, self.attended(x, mask))
        x = self.normed(x)
        x = x + self.narrow(self.activated(self.wide(x)))
        x = self.recurrent(x)
        scores = self.scores(self.out(x))
        return scores, self.labels(scores)

    def front(self, x: Tensor) -> Tensor:
        y = self.batch(self.convolved(x.transpose(1, 2)))
        return F.leaky_relu(y).transpose(1, 2)

    def convolved(self, x: Tensor) -> Tensor:
        return self.conv(x)

    def embedded(self, ids: Tensor) -> Tensor:
        return self.embed(ids)

    def positions(self) -> Tensor:
        return self.position

    def attended(self, x: Tensor, mask: Tensor) -> Tensor:
        query, key, value = (self.split(f(x)) for f in (self.query, self.key, self.value))
        scores = query @ key.transpose(-2, -1) / self.scale()
        scores = scores.masked_fill(self.hidden(mask), torch.finfo(scores.dtype).min)
        return self.merge(self.weights(scores) @ value)

    def split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (HEADS, -1)).transpose(1, 2)

    def merge(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2).flatten(2)

    def scale(self) -> float:
        return math.sqrt(SIZE // HEADS)

    def hidden(self, mask: Tensor) -> Tensor:
        later = torch.ones(LENGTH, LENGTH, dtype=torch.bool).triu(1)
        return later | ~mask[:, None, None, :]

    def weights(self, scores: Tensor) -> Tensor:
        return torch.softmax(scores, -1)

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y

    def normed(self, x: Tensor) -> Tensor:
        return self.norm(x)

    def activated(self, x: Tensor) -> Tensor:
        return F.gelu(x)

    def recurrent(self, x: Tensor) -> Tensor:
        return self.lstm(x)[0]

    def scores(self, x: Tensor) -> Tensor:
        return x.log_softmax(-1)

    def labels(self, scores: Tensor) -> Tensor:
        return scores.argmax(-1)


@dataclass(frozen=True)
class Fault:
    """What is done otherwise, by the method's name; or to the weights.

    operators: one of these must be named; none where no operator is to blame.
    """

    operators: tuple[str, ...]
    methods: dict[str, Callable[..., Any]] | None = None
    weights: Callable[[Network], object] | None = None


def _other(*operators: str, **methods: Callable[..., Any]) -> Fault:
    return Fault(tuple(f"aten.{name}" for name in operators), methods=methods)


def _weights(change: Callable[[Network], object], *operators: str) -> Fault:
    return Fault(tuple(f"aten.{name}" for name in operators), weights=change)


def _gates(network: Network) -> None:
    """The gates in the order of another framework: input, output, forget, cell."""
    for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
        tensor = getattr(network.lstm, name)
        i, f, g, o = tensor.clone().chunk(4)
        tensor.copy_(torch.cat([i, o, f, g]))


def _one_step_older(network: Network) -> None:
    for weight in network.parameters():
        weight.sub_(1e-3 * weight.sign())


def _eight_bits(network: Network) -> None:
    scale = network.wide.weight.abs().max() / 127
    network.wide.weight.copy_((network.wide.weight / scale).round() * scale)


def _row(network: Network) -> None:
    network.embed.weight[3] = 0


def _flipped(network: Network) -> None:
    network.conv.weight.copy_(network.conv.weight.flip(-1))


def _statistics(network: Network) -> None:
    network.batch.running_mean.add_(0.01)


def _epsilon(network: Network) -> None:
    network.norm.eps = 1e-3


def _batch_epsilon(network: Network) -> None:
    network.batch.eps = 1e-3


def _other_vocabulary(network: Network) -> None:
    network.out.weight.copy_(network.out.weight.roll(1, 0))


FAULTS = {
    "gelu by tanh": _other("gelu.default", activated=lambda m, x: F.gelu(x, approximate="tanh")),
    "relu for gelu": _other("gelu.default", activated=lambda m, x: F.relu(x)),
    "leaky by a tenth": _other(
        "leaky_relu.default",
        front=lambda m, x: F.leaky_relu(m.batch(m.conv(x.transpose(1, 2))), 0.1).transpose(1, 2),
    ),
    "reflected for padded": _other(
        "conv1d.default",
        convolved=lambda m, x: F.conv1d(F.pad(x, (1, 1), "reflect"), m.conv.weight, m.conv.bias),
    ),
    "kernel flipped": _weights(_flipped, "conv1d.default"),
    "channels swapped": _other("conv1d.default", convolved=lambda m, x: m.conv(x.flip(1))),
    "old statistics": _weights(_statistics, "batch_norm.default"),
    "statistics of the batch": _other(
        "batch_norm.default",
        front=lambda m, x: F.leaky_relu(
            F.batch_norm(
                m.conv(x.transpose(1, 2)), None, None, m.batch.weight, m.batch.bias, training=True
            )
        ).transpose(1, 2),
    ),
    "epsilon of the batch norm": _weights(_batch_epsilon, "batch_norm.default"),
    "epsilon of the layer norm": _weights(_epsilon, "layer_norm.default"),
    "a row of the table lost": _weights(_row, "embedding.default"),
    "a label off by one": _other(
        "embedding.default", embedded=lambda m, i: m.embed((i + 1) % VOCAB)
    ),
    "positions off by one": _other("add.Tensor", positions=lambda m: m.position.roll(1, 0)),
    "causal mask off by one": _other(
        "triu.default",
        hidden=lambda m, mask: (
            torch.ones(LENGTH, LENGTH, dtype=torch.bool).triu(2) | ~mask[:, None, None, :]
        ),
    ),
    "mask ignored": _other(
        "bitwise_not.default",
        hidden=lambda m, mask: (
            torch.ones(LENGTH, LENGTH, dtype=torch.bool).triu(1) | (mask[:, None, None, :] & False)
        ),
    ),
    "scale left out": _other("div.Tensor", scale=lambda m: 1.0),
    "softmax of the other axis": _other("softmax.int", weights=lambda m, s: torch.softmax(s, -2)),
    "heads not put back": _other(
        "transpose.int",
        "reshape.default",
        "flatten.using_ints",
        merge=lambda m, x: x.reshape(x.shape[0], LENGTH, SIZE),
    ),
    "residual left out": _other("add.Tensor", add=lambda m, x, y: y + 0.0),
    "gates in another order": _weights(_gates, "lstm.input"),
    "read from the end": _other("lstm.input", recurrent=lambda m, x: m.lstm(x.flip(1))[0].flip(1)),
    "logits for scores": _other("log_softmax.int", scores=lambda m, x: x + 0.0),
    "classes in another order": _weights(_other_vocabulary, "linear.default"),
    "a label of another scheme": _other("argmax.default", labels=lambda m, s: s.argmax(-1) + 1),
    "halves in the middle": _other("linear.default", normed=lambda m, x: m.norm(x).half().float()),
    "weights of eight bits": _weights(_eight_bits, "linear.default"),
    "a step of training older": _weights(_one_step_older, "conv1d.default", "embedding.default"),
    "inputs clipped": _other("conv1d.default", convolved=lambda m, x: m.conv(x.clamp(-3, 3))),
    "scores cut": _other("log_softmax.int", scores=lambda m, x: x.log_softmax(-1).clamp(min=-2)),
    "random at run time": _other(
        "linear.default", activated=lambda m, x: F.dropout(F.gelu(x), 0.2, training=True)
    ),
}


def sound() -> tuple[Network, tuple[Tensor, ...]]:
    """Return the network and its example."""
    torch.manual_seed(0)
    network = Network().eval()
    network.batch.running_mean.normal_()
    network.batch.running_var.uniform_(0.5, 2)
    mask = torch.tensor([[True] * LENGTH, [True] * 3 + [False] * 2])
    return network, (torch.randn(2, LENGTH, SIZE), torch.randint(0, VOCAB, (2, LENGTH)), mask)


def faulty(fault: Fault) -> Network:
    """Return the network with a fault."""
    network = copy.deepcopy(sound()[0])
    if fault.methods is not None:
        network.__class__ = type("Faulty", (Network,), fault.methods)
    if fault.weights is not None:
        with torch.no_grad():
            fault.weights(network)
    return network


def verdict(name: str) -> str:
    """Return what is wrong of the verdict on a kind, in a line; nothing, if it is right."""
    network, example = sound()
    fault = FAULTS[name]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.pt2"
        torch.export.save(torch.export.export(faulty(fault), example), path)
        try:
            assert_export_parity(network, example, artifacts=[path])
        except ParityError as error:
            (result,) = error.report.results
        else:
            return "green, and is not right"
    if result.problem:
        return f"not compared: {result.problem}"
    named = [case.wrong.operator for case in result.cases if case.wrong]
    if not named or named[0] not in fault.operators:
        return f"names {', '.join(named) or 'none'}, and not {' or '.join(fault.operators)}"
    return ""
