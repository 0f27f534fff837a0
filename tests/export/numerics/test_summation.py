"""Sums in float32, one number after the other: what they are of, and how far they are off."""

import pytest
import torch

from deploy_bias.export.numerics.rounding import Rounding
from deploy_bias.export.numerics.summation import UNIT, Summation


def drawn(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).double()


def still(shape):
    return torch.zeros(shape, dtype=torch.float64)


def summed(function, *inputs, flush=False):
    with Rounding(torch.Generator().manual_seed(0), flush):
        return function(*inputs)


OPERATORS = {
    "sum": lambda x: x.sum(),
    "sum of an axis": lambda x: x.sum(1),
    "sum of two axes, kept": lambda x: x.sum((0, -1), keepdim=True),
    "mean": lambda x: x.mean(),
    "mean of an axis": lambda x: x.mean(-2),
    "mean of two axes, kept": lambda x: x.mean((1, 2), keepdim=True),
    "cumsum": lambda x: x.cumsum(1),
    "variance": lambda x: x.var(),
    "variance of an axis": lambda x: x.var(1, correction=0),
    "standard deviation": lambda x: x.std((0, 2), keepdim=True),
    "norm": lambda x: x.norm(),
    "norm of an axis": lambda x: torch.linalg.vector_norm(x, dim=1, keepdim=True),
    "norm of another order": lambda x: torch.linalg.vector_norm(x, 3, dim=-1),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_they_are_what_they_are_but_for_rounding(name):
    x = drawn(3, 4, 5)
    exact, near = OPERATORS[name](x), summed(OPERATORS[name], x)
    torch.testing.assert_close(near, exact, rtol=0, atol=1e-5)
    assert not near.equal(exact)


@pytest.mark.parametrize(("count", "units"), [(100, 2), (10_000, 100)])
def test_equal_numbers_all_round_the_same_way(count, units):
    x = torch.full((count,), 0.7, dtype=torch.float64)
    naive = torch.zeros(())
    for number in x.float():
        naive = naive + number
    assert Summation(still, flush=False).sum(x).item() == naive.item()
    off = abs(naive.item() / x.sum().item() - 1)
    assert off > units * UNIT
    near = summed(torch.sum, x)
    assert abs(near.item() / x.sum().item() - 1) > off / 2


def test_numbers_that_float32_adds_without_rounding_move_little():
    x = torch.ones(4096, dtype=torch.float64)
    assert summed(torch.mean, x).item() == pytest.approx(1.0, abs=64 * UNIT)


def test_squares_that_float32_does_not_hold():
    x = torch.full((4,), 1e-20, dtype=torch.float64)
    assert summed(torch.norm, x, flush=True).item() == 0
    assert summed(torch.norm, x).item() == pytest.approx(2e-20, rel=1e-3)


def test_what_overflows_is_infinite():
    assert summed(torch.sum, torch.full((4,), 2e38, dtype=torch.float64)).isinf()


def test_integers_are_added_as_they_are():
    assert summed(torch.sum, torch.arange(5)).item() == 10
