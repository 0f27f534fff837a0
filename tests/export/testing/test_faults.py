"""Known-bad graphs: each must be caught by default limits, wherever the fault comes in."""

import copy

import pytest
import torch
from torch import Tensor, nn

from deploy_bias.bundle.contract import Append
from deploy_bias.export.testing.module_graph import ModuleGraph
from deploy_bias.testing import ParityError, assert_export_parity

SIZE, ROWS = 8, 3
STEPS = 2 * ROWS


class Streaming(nn.Module):
    """Two blocks of moving averages, then attention with a bias to a window of keys.

    A fault is a method that a subclass has otherwise.
    """

    def __init__(self) -> None:
        super().__init__()
        self.decay = nn.Parameter(torch.rand(2, SIZE))
        self.mix = nn.ModuleList(nn.Linear(SIZE, SIZE) for _ in range(2))
        self.key = nn.Linear(SIZE, SIZE)
        self.bias = nn.Parameter(torch.randn(ROWS + 1))

    def forward(self, x: Tensor, averages: Tensor, window: Tensor) -> dict[str, Tensor]:
        """(B, SIZE), (2, B, SIZE), (B, ROWS, SIZE)."""
        states = []
        for block, mix in enumerate(self.mix):
            state = self.coefficients()[block] * averages[self.wired(block)] + x
            x = x + self.activation(mix(self.middle(state)))
            states.append(state)
        key = self.key(x)
        keys = torch.cat([window, key.unsqueeze(1)], 1)
        scores = (keys @ x.unsqueeze(-1)).squeeze(-1) + self.biases()
        attended = (torch.softmax(scores, -1).unsqueeze(1) @ keys).squeeze(1)
        return {
            "out": self.add(attended, x),
            "next_averages": self.after(torch.stack(states), averages),
            "new_key": key,
        }

    def coefficients(self) -> Tensor:
        return torch.sigmoid(self.decay)

    def wired(self, block: int) -> int:
        return block

    def middle(self, state: Tensor) -> Tensor:
        return state

    def activation(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x)

    def biases(self) -> Tensor:
        return self.bias

    def add(self, attended: Tensor, x: Tensor) -> Tensor:
        return torch.add(attended, x, alpha=0.5)

    def after(self, states: Tensor, averages: Tensor) -> Tensor:
        return states


class OffsetByOne(Streaming):
    def biases(self):
        return self.bias.roll(1)


class CutAtTheWindowsEdge(Streaming):
    def biases(self):
        return torch.cat([torch.zeros_like(self.bias[:1]), self.bias[1:]])


class StaleCoefficient(Streaming):
    """Folded before the last update of the weights, by 1 %."""

    def coefficients(self):
        return torch.sigmoid(self.decay * 0.99)


class StateOfTheWrongBlock(Streaming):
    def wired(self, block):
        return 1 - block


class NextStateDropped(Streaming):
    def after(self, states, averages):
        return averages + 0.0


class AlphaIgnored(Streaming):
    def add(self, attended, x):
        return attended + x


class TanhForSigmoid(Streaming):
    def activation(self, x):
        return torch.tanh(x)


class OneWeightOffByAPercent(Streaming):
    def forward(self, x, averages, window):
        factor = torch.ones(SIZE, SIZE)
        factor[3, 5] = 1.01
        key = nn.functional.linear(torch.zeros_like(x), self.key.weight * factor)
        outputs = super().forward(x, averages, window)
        changed = nn.functional.linear(x, self.key.weight * (factor - 1))
        return {**outputs, "new_key": outputs["new_key"] + changed + key}


class HalfInTheMiddle(Streaming):
    def middle(self, state):
        return state.to(torch.float16).to(state.dtype)


class Biased(nn.Module):
    """Scores with the bias of each pair of positions."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.randn(2 * SIZE - 1))

    def forward(self, scores: Tensor) -> Tensor:
        return torch.softmax(scores + self.matrix(), -1)

    def matrix(self) -> Tensor:
        position = torch.arange(SIZE)
        return self.bias[position[None, :] - position[:, None] + SIZE - 1]


class TransposedBias(Biased):
    def matrix(self):
        return super().matrix().T


FAULTS = [
    TransposedBias,
    OffsetByOne,
    CutAtTheWindowsEdge,
    StaleCoefficient,
    StateOfTheWrongBlock,
    NextStateDropped,
    AlphaIgnored,
    TanhForSigmoid,
    OneWeightOffByAPercent,
    HalfInTheMiddle,
]


def arguments(kind):
    if issubclass(kind, Biased):
        return (torch.randn(1, SIZE, SIZE),), {}
    example = (torch.randn(2, SIZE), torch.zeros(2, 2, SIZE), torch.zeros(2, ROWS, SIZE))
    window = Append(input="window", output="new_key")
    return example, {"state": {"averages": "next_averages", "window": window}, "steps": STEPS}


def pair(kind):
    """The faulty module and the sound one, of the same weights."""
    good = (Biased if issubclass(kind, Biased) else Streaming)().eval()
    bad = copy.deepcopy(good)
    bad.__class__ = kind
    return good, bad


@pytest.mark.parametrize("kind", [Streaming, Biased])
def test_the_sound_modules_pass(kind):
    good, _ = pair(kind)
    inputs, options = arguments(kind)
    report = assert_export_parity(good, inputs, **options)
    assert [result.backend for result in report.results] == ["torchscript", "onnx", "executorch"]


BACKENDS = ("torchscript", "onnx", "executorch")


# The fault is there before any backend: each kind is tried on one, and each backend on some kinds.
@pytest.mark.parametrize(
    ("kind", "backend"), [(kind, BACKENDS[i % 3]) for i, kind in enumerate(FAULTS)]
)
def test_a_fault_between_eager_and_the_export(kind, backend, monkeypatch):
    good, bad = pair(kind)
    inputs, options = arguments(kind)
    export = ModuleGraph.module

    def faulty(graph, layout):
        flat = copy.deepcopy(export(graph, layout))
        flat.inner = bad
        return flat

    monkeypatch.setattr(ModuleGraph, "module", faulty)
    with pytest.raises(ParityError) as error:
        assert_export_parity(good, inputs, backends=[backend], **options)
    (result,) = error.value.report.results
    assert not result.passed
    assert result.problem is None
    assert {case.first_stage for case in result.worst_by_output if not case.passed} == {
        "eager rewrite"
    }


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_of_the_module_itself_against_a_reference(kind):
    good, bad = pair(kind)
    inputs, options = arguments(kind)
    with pytest.raises(ParityError) as error:
        assert_export_parity(bad, inputs, backends=["torchscript"], reference=good, **options)
    (result,) = error.value.report.results
    assert {case.first_stage for case in result.worst_by_output if not case.passed} == {"eager"}
