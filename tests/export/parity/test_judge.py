"""The budget of each element: what rounding does to it, and not to the largest one beside it."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from deploy_bias.export.parity.judge import Truth, judge
from deploy_bias.testing import ParityError, assert_export_parity

EPS = torch.finfo(torch.float32).eps


def truth_of(exact, units=1.0, carried=False):
    exact = torch.tensor([exact], dtype=torch.float64)
    return Truth(exact.float(), exact, [exact * (1 + units * EPS)], carried)


def test_a_mask_does_not_widen_the_budget_of_what_is_beside_it():
    for mask in (-1e9, torch.finfo(torch.float32).min):
        budgets = truth_of([0.5, 0.25, mask]).budgets(1.0)[0]
        assert budgets[0] < 1e-6
        assert budgets[1] < 1e-6
        assert budgets[2] > -1e-8 * mask


def test_a_lucky_draw_is_no_unit():
    exact = torch.linspace(1, 2, 50, dtype=torch.float64)[None]
    near = exact * (1 + EPS)
    near[0, 7] = exact[0, 7]  # as if nothing rounded there
    unit = Truth(exact.float(), exact, [near]).unit[0]
    assert unit[7] > 0.5 * unit.median()


def test_integers_are_equal_or_wrong_however_large():
    exact = torch.tensor([[10**9, 2**60]])
    for off in (1, -1):
        truth = Truth(exact, exact, [exact])
        assert not judge(exact + off, truth, 1.0, 1e-4)["passed"]
        assert judge(exact, truth, 1.0, 1e-4)["passed"]


def test_what_rounding_changes_is_not_decided_and_the_share_says_so():
    exact = torch.tensor([[3, 4, 5, 6]])
    near = torch.tensor([[3, 5, 5, 6]])
    judged = judge(torch.tensor([[3, 9, 5, 6]]), Truth(exact, exact, [near]), 1.0, 1e-4)
    assert judged["passed"]
    assert judged["decided"] == 0.75


@pytest.mark.parametrize(("units", "share"), [(1.0, 1.0), (1e6, 0.0)])
def test_an_element_whose_budget_is_a_large_part_of_the_output_is_not_decided(units, share):
    assert truth_of([1.0, -2.0], units).decided(1.0) == share


class Nearest(nn.Module):
    """ONNX Runtime resizes nearest by a pixel off (onnxruntime #12098)."""

    def __init__(self, then):
        super().__init__()
        self.then = then

    def forward(self, x):
        return self.then(torch.tanh(F.interpolate(x, size=[64], mode="nearest")))


MASKED = torch.arange(64) >= 60
THEN = {
    "16-bit samples": lambda y: (y * 32767).round().to(torch.int32),
    "a mask of the least number": lambda y: y.masked_fill(MASKED, torch.finfo(y.dtype).min),
    "beside large numbers": lambda y: torch.cat([y, y * 1e6], 1),
}


@pytest.mark.parametrize("then", THEN)
def test_a_wrong_pixel_is_found_whatever_is_made_of_it(then):
    torch.manual_seed(0)
    with pytest.raises(ParityError) as error:
        assert_export_parity(Nearest(THEN[then]), torch.randn(1, 1, 26), backends=["onnx"])
    failed = {case.case for case in error.value.report.results[0].cases if not case.passed}
    assert {"example", "normal"} <= failed


def test_a_layer_norm_of_rows_far_from_zero():
    torch.manual_seed(0)
    x = 100 + torch.randn(4, 64)
    with pytest.raises(ParityError) as error:
        assert_export_parity(nn.LayerNorm(64), x, backends=["executorch", "torchscript"])
    results = {result.backend: result for result in error.value.report.results}
    assert results["torchscript"].passed  # eager's own kernel
    (case,) = (case for case in results["executorch"].cases if case.case == "example")
    assert not case.passed
    assert case.decided == 1.0


def test_an_example_that_decides_nothing_fails():
    class Noise(nn.Module):
        def forward(self, x):
            return (x + 1e9) - 1e9

    with pytest.raises(ParityError, match="case 'example' decided nothing") as error:
        assert_export_parity(Noise(), torch.rand(1, 8), backends=["torchscript"])
    (result,) = error.value.report.results
    assert {case.decided for case in result.cases if case.case == "example"} == {0.0}


class Layer(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function
        self.linear = nn.Linear(8, 8)

    def forward(self, x):
        return self.function(self, x)


SOUND = {
    "elu": lambda m, x: F.elu(x),
    "selu": lambda m, x: F.selu(x),
    "celu": lambda m, x: F.celu(x),
    "log1p": lambda m, x: torch.log1p(x.abs()),
    "expm1": lambda m, x: torch.expm1(x),
    "topk": lambda m, x: torch.topk(x, 3),
    "sort": lambda m, x: torch.sort(x),
    "mask": lambda m, x: m.linear(x).masked_fill(x > 0, torch.finfo(x.dtype).min),
    "epsilon": lambda m, x: x / (x.norm(dim=-1, keepdim=True) + torch.finfo(x.dtype).eps),
    "dtype": lambda m, x: m.linear(x).to(torch.float32) + torch.zeros(8, dtype=torch.float32),
    "gelu": lambda m, x: F.gelu(10 * m.linear(x)),
    "sigmoid": lambda m, x: torch.sigmoid(20 * m.linear(x)),
    "softplus": lambda m, x: F.softplus(x),
    "log of softmax": lambda m, x: F.log_softmax(30 * m.linear(x), -1),
    "one million": lambda m, x: torch.cat([m.linear(x), 1e6 * m.linear(x)], -1),
}


@pytest.mark.parametrize("name", SOUND)
def test_what_kernels_do_soundly_is_no_alarm(name):
    torch.manual_seed(0)
    assert assert_export_parity(
        Layer(SOUND[name]), torch.randn(3, 8), backends=["torchscript", "onnx"]
    ).passed
