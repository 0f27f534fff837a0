"""Quantised eager: what the linear layers lose in 8 or 4 bits, and nothing else."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from deploy_bias.export.numerics.quantization import Quantizing, quantized


def off(module, x, precision):
    """The root mean square distance to the module as it is, by its root mean square."""
    with torch.no_grad():
        exact = module(x)
        with Quantizing(precision):
            got = module(x)
    return ((got - exact).norm() / exact.norm()).item()


def drawn(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_a_layer_is_off_by_what_its_bits_round():
    layer = nn.Linear(256, 64)
    # A uniform error of a step by the root of 12, for weights to 1 and normal inputs to 3 and more.
    assert 0.002 < off(layer, drawn(100, 256), "int8") < 0.02
    assert 0.02 < off(layer, drawn(100, 256), "int4") < 0.2


def test_each_row_has_its_own_scale():
    layer = nn.Linear(64, 32)
    with torch.no_grad():
        layer.weight[0] *= 1000
    x = torch.cat([1e4 * drawn(1, 64), drawn(3, 64)])
    with torch.no_grad():
        expected = layer(x)
        with Quantizing("int8"):
            got = layer(x)
    assert torch.allclose(got[1:, 1:], expected[1:, 1:], atol=0.05)


@pytest.mark.parametrize("size", [16, 80])
def test_rows_that_are_no_whole_number_of_groups(size):
    assert 0.02 < off(nn.Linear(size, 64), drawn(100, size), "int4") < 0.2


def test_rows_of_zeros_stay_zeros():
    layer = nn.Linear(8, 4)
    with torch.no_grad():
        layer.weight[1] = 0
        with Quantizing("int8"):
            got = layer(torch.zeros(2, 8))
    assert torch.equal(got, layer.bias.expand(2, 4))


@pytest.mark.parametrize(
    "module",
    [nn.Linear(256, 1), nn.LayerNorm(256), nn.Conv1d(100, 3, 3), nn.SiLU()],
    ids=["a mean", "a layer norm", "a convolution", "an activation"],
)
def test_nothing_else_is_quantised(module):
    assert off(module, drawn(100, 256), "int8") == 0


def test_only_while_it_runs():
    layer = nn.Linear(8, 4)
    x = drawn(3, 8)

    def call(inputs):
        return {"y": layer(inputs["x"])}

    exact = layer(x)
    graph = SimpleNamespace(eager=lambda dtype: call)
    assert not quantized(graph, "int8")({"x": x})["y"].equal(exact)
    assert call({"x": x})["y"].equal(exact)
