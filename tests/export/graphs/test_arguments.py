"""The arguments of assert_export_parity: what cannot be meant is said before anything is run."""

import numpy as np
import pytest
import torch
from torch import nn

from deploy_bias.errors import OptionError
from deploy_bias.testing import ParityError, assert_export_parity

EXAMPLE = torch.linspace(-1, 1, 8).view(2, 4)


class Cell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(4, 4)

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        return self.cell(x, h)


class InHalf(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.half().float() + 1


class Counting(nn.Module):
    count = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.count += 1
        return x * self.count


def gate(module, example=EXAMPLE, **arguments):
    return assert_export_parity(module, example, backends=["torchscript"], **arguments)


def cell_gate(**arguments):
    return gate(Cell(), (EXAMPLE, torch.zeros(2, 4)), **arguments)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gate(lambda x: x), "module: expected a torch.nn.Module, got function"),
        (lambda: gate(nn.Linear(4, 4).double()), "fails on its example .* the same dtype"),
        (lambda: gate(nn.Linear(5, 4)), "the module fails on its example inputs, RuntimeError"),
        (lambda: cell_gate(state=["h"]), "state: expected a dict by name, got list"),
        (lambda: cell_gate(state={"h": 1}), "state: 'h': expected the name of an output"),
        (lambda: cell_gate(steps=5), "steps=5 without state"),
        (lambda: cell_gate(steps="3", state={"h": "output"}), "steps: .* got '3'"),
        (lambda: cell_gate(steps=0, state={"h": "output"}), "steps: .* got 0"),
        (lambda: gate(nn.ReLU(), cases=[EXAMPLE]), "cases: expected a dict by name, got list"),
        (lambda: gate(nn.ReLU(), cases={"zeros": EXAMPLE}), "'zeros' is the name of a case"),
        (lambda: gate(nn.ReLU(), cases={"example": EXAMPLE}), "'example' is the name of a case"),
        (lambda: gate(nn.ReLU(), ranges={"input": (4, 0)}), r"ranges: 'input': .* got \(4, 0\)"),
        (lambda: gate(nn.ReLU(), ranges={"input": 4}), "ranges: 'input': .* got 4"),
        (lambda: gate(Counting()), "output is another each time .* or remembered"),
    ],
)
def test_what_cannot_be_meant_is_an_error_that_says_the_way_out(call, message):
    with pytest.raises(OptionError, match=message):
        call()


def test_a_module_that_rounds_to_half_within_is_judged():
    assert gate(InHalf()).passed


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (lambda x: x.float().relu(), "reference gives output as torch.float32"),
        (lambda x: x[:1], r"reference gives output as torch.float64 \(1, 4\)"),
        (lambda x: (x, x), "reference gives output_0, output_1, and the module output"),
        (lambda x: x @ x, "reference fails on the example inputs in float64, RuntimeError"),
    ],
)
def test_a_reference_must_give_what_the_module_does_in_float64(reference, message):
    with pytest.raises(OptionError, match=message):
        gate(nn.ReLU(), reference=reference)


def test_the_steps_of_a_rollout_are_those_asked_for():
    for steps in (None, 5):
        report = cell_gate(steps=steps, state={"h": "output"})
        lengths = {case.case: case.steps for case in report.results[0].cases}
        assert lengths["example"] == (steps or 16)


def test_numbers_may_be_those_of_numpy():
    five = np.int64(5)
    assert cell_gate(steps=five, state={"h": "output"}).passed
    assert gate(nn.Embedding(9, 3), torch.tensor([1, 4]), ranges={"input": (0, five)}).passed


def test_an_rms_norm_keeps_the_epsilon_of_float32():
    assert gate(nn.RMSNorm(16), torch.randn(2, 16)).passed


def test_cases_that_the_module_refuses_are_named():
    embedding = nn.Embedding(5, 3)
    report = gate(embedding, torch.tensor([1, 4]), ranges={"input": (0, 9)})
    assert "ones" in report.refused
    assert "zeros" not in report.refused
    assert report.to_dict()["refused"] == list(report.refused)
    assert gate(embedding, torch.tensor([1, 4])).refused == ()


def test_eager_that_is_another_function_than_its_reference_is_told_as_such():
    with pytest.raises(ParityError, match="rounding explains: it and its reference") as error:
        gate(nn.ReLU(), reference=lambda x: 1.01 * x.relu())
    assert "is allowed" not in str(error.value)
    (result,) = error.value.report.results
    assert "two functions" in result.why
