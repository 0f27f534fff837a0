"""What float32 may do to a computation: no less than a sound kernel does, and not much more."""

import numpy as np
import pytest
import torch
from torch import nn

from deploy_bias.export.graph import DRAWS
from deploy_bias.export.numerics.operators import APPROXIMATION
from deploy_bias.export.numerics.rounding import UNIT, Rounding, rounded

X = torch.linspace(0.5, 2.0, 64, dtype=torch.float64)


def moved(function, *inputs, seed=0, flush=False):
    """How far rounding moves each element of the result, at the worst of some draws."""
    exact = function(*inputs)
    worst = torch.zeros(exact.shape, dtype=torch.float64)
    for number in range(20):
        with Rounding(torch.Generator().manual_seed(100 * seed + number), flush):
            worst = worst.maximum((function(*inputs) - exact).abs())
    return worst


def units(function, *inputs):
    """The same in units of the result."""
    return (moved(function, *inputs) / (function(*inputs).abs() * UNIT)).max().item()


@pytest.mark.parametrize(
    "function", [lambda x: x + 1, lambda x: x * 3, lambda x: x.sqrt(), lambda x: x / 3]
)
def test_plain_operators_move_by_up_to_a_unit(function):
    assert 0.9 < units(function, X) <= 1.0 + 1e-6


@pytest.mark.parametrize("function", [torch.exp, torch.tanh, torch.erfc, nn.functional.gelu])
def test_functions_that_kernels_approximate_move_by_more(function):
    assert 0.9 * APPROXIMATION < units(function, X) <= APPROXIMATION + 1e-6


@pytest.mark.parametrize(
    "function",
    [nn.functional.elu, torch.log1p, torch.expm1, nn.functional.logsigmoid, torch.sigmoid],
)
def test_functions_of_parts_of_about_one_are_worth_what_the_parts_are(function):
    x = torch.full((64,), -30.0 if function in (torch.sigmoid,) else -1e-12).double()
    assert 0.5 * UNIT < moved(function, x).max() < 20 * UNIT


EXACT = {
    "round": lambda x: (x * 32767).round(),
    "floor": lambda x: torch.floor(x / 3),
    "comparison": lambda x: (x > 1).double(),
    "a cast to integer": lambda x: (x * 100).to(torch.int32),
    "a mask": lambda x: x.masked_fill(x > 1, -1e9),
    "a choice": lambda x: torch.where(x > 1, x, -x),
    "the largest": lambda x: x.view(8, 8).amax(1),
    "a pool": lambda x: nn.functional.max_pool1d(x.view(1, 1, -1), 2),
    "gather": lambda x: x.view(8, 8).gather(1, torch.arange(8).view(8, 1)),
    "nearest": lambda x: nn.functional.interpolate(x.view(1, 1, -1), size=40),
    "a sum of whole numbers": lambda x: torch.arange(9.0).double().sum(),
    "a product of whole numbers": lambda x: (x > 1).double().view(8, 8) @ torch.ones(8, 8).double(),
    "what float32 holds": lambda x: (x * 0 + 3.0) * 0.25 + 1.5,
}


@pytest.mark.parametrize("name", EXACT)
def test_what_is_exact_moves_nothing(name):
    x = X + 1e-3  # where no choice is near
    assert not moved(lambda x: EXACT[name](x).double(), x).any()


def test_equal_numbers_are_named_in_any_order_and_unequal_ones_are_not():
    equal, unequal = torch.zeros(2, 9).double(), torch.arange(9.0).double().expand(2, 9)
    for function in (lambda x: x.topk(3).indices, lambda x: x.sort().indices):
        assert moved(function, equal).any()
        assert not moved(function, unequal).any()
    assert not moved(lambda x: x.sort(stable=True).indices, equal).any()
    assert not moved(lambda x: x.argmax(-1), equal).any()  # torch says the first


def test_a_view_and_a_choice_move_nothing():
    assert not moved(lambda x: x.view(8, 8).transpose(0, 1), X).any()
    assert not moved(lambda x: x.reshape(4, 16)[1:3], X).any()


def test_integers_and_float32_are_not_touched():
    assert not moved(lambda x: x + 1, torch.arange(5)).any()
    assert not moved(lambda x: x * 3, X.float()).any()


class TestProducts:
    def test_where_a_sum_cancels_its_terms_have_rounded_all_the_same(self):
        a = torch.tensor([[1e6 + 0.25, -1e6 - 0.25, 1.0]], dtype=torch.float64)
        ones = torch.ones(3, 1, dtype=torch.float64)
        exact = a.float() @ ones.float()
        assert exact == 1.0
        shift = moved(torch.mm, a, ones).item()
        assert 0.5e6 * UNIT < shift < 3e6 * UNIT

    @pytest.mark.parametrize("terms", [16, 1024])
    def test_they_move_as_a_random_walk_of_their_terms(self, terms):
        ones = torch.full((1, terms), 0.7, dtype=torch.float64)
        shift = moved(torch.mm, ones, ones.T).item()
        assert 0.05 * terms * UNIT < shift < (terms**0.5 + terms) * UNIT

    def test_a_kernel_may_start_from_the_bias_and_round_every_sum(self):
        generator = torch.Generator().manual_seed(0)
        x = torch.rand(1, 256, generator=generator) * 2 - 1
        layer = nn.Linear(256, 100)
        nn.init.constant_(layer.bias, 6.0)
        with torch.no_grad():
            terms = torch.cat([layer.bias[:, None], layer.weight * x], 1).numpy()
            naive = np.add.accumulate(terms, axis=1, dtype=np.float32)[:, -1]
            exact = layer.double()(x.double())
            off = (torch.from_numpy(naive) - exact[0]).abs().max()
            shift = moved(layer, x.double()).max()
        assert off > 10 * UNIT
        assert 0.25 * off < shift < off

    @pytest.mark.parametrize(
        "module", [nn.Linear(8, 4), nn.Conv1d(2, 3, 3), nn.Conv2d(1, 2, 3, bias=False)]
    )
    def test_layers_move_as_far_as_float32_is_off(self, module):
        shapes = {nn.Linear: (5, 8), nn.Conv1d: (1, 2, 9), nn.Conv2d: (1, 1, 9, 9)}
        x = torch.randn(shapes[type(module)], generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            single = module(x)
            double = module.double()
            off = (single.double() - double(x.double())).abs().max()
            shift = moved(double, x.double()).max()
        assert off < 2 * shift
        assert shift < 1e-5


class TestNorms:
    @pytest.mark.parametrize("offset", [100, 1000])
    def test_a_row_far_from_zero_is_worth_what_its_mean_is(self, offset):
        generator = torch.Generator().manual_seed(0)
        x = offset + torch.randn(1, 64, generator=generator)
        layer = nn.LayerNorm(64)
        with torch.no_grad():
            off = (layer(x) - layer.double()(x.double())).abs().max()
            shift = moved(layer, x.double()).max()
        assert off / 4 < shift < 5 * offset * UNIT

    def test_a_row_about_zero_is_worth_nearly_all(self):
        x = torch.randn(1, 64, generator=torch.Generator().manual_seed(0)).double()
        with torch.no_grad():
            assert moved(nn.LayerNorm(64).double(), x).max() < 1e-5

    @pytest.mark.parametrize(
        ("norm", "shape"),
        [
            (nn.LayerNorm((3, 8)), (2, 3, 8)),
            (nn.LayerNorm(8, elementwise_affine=False), (2, 8)),
            (nn.LayerNorm(8, bias=False), (2, 8)),
            (nn.GroupNorm(2, 4), (2, 4, 6)),
            (nn.GroupNorm(2, 4, affine=False), (2, 4, 3, 5)),
        ],
    )
    def test_what_it_takes_them_for_is_what_they_are(self, norm, shape):
        norm = norm.double()
        for parameter in norm.parameters():
            nn.init.normal_(parameter)
        x = torch.randn(shape, dtype=torch.float64)
        with torch.no_grad():
            exact = norm(x)
            with Rounding(torch.Generator().manual_seed(0), flush=False):
                near = norm(x)
        torch.testing.assert_close(near, exact, rtol=0, atol=1e-5)
        assert not near.equal(exact)


def test_what_is_written_in_place_moves_too():
    def add(x):
        return x.clone().add_(1)

    assert 0.9 < units(add, X) < 3


def test_subnormal_numbers_are_zero_where_it_is_said():
    x = torch.tensor([1e-40, 1.0], dtype=torch.float64)
    for flush, first in ((True, 0.0), (False, 1e-40)):
        with Rounding(torch.Generator().manual_seed(0), flush):
            found = x * 1.0
        assert found[0].item() == pytest.approx(first)
        assert found[1].item() == pytest.approx(1.0)


def test_attention_is_seen_in_its_parts():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).double().eval()
    before = torch.backends.mha.get_fastpath_enabled()
    with torch.no_grad():
        assert moved(layer, torch.randn(1, 3, 8, dtype=torch.float64)).any()
    assert torch.backends.mha.get_fastpath_enabled() == before


def test_the_draws_differ_and_each_gives_the_same_anew():
    def call(inputs):
        return {"y": inputs["x"] * 3}

    once, again = ([draw({"x": X})["y"] for draw in rounded(call)] for _ in range(2))
    assert len(once) == DRAWS
    assert all(one.equal(two) for one, two in zip(once, again, strict=True))
    assert not once[0].equal(once[1])
