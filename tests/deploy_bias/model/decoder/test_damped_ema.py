"""The moving average: sequences and steps, against ESPnet."""

import pytest
import torch
from espnet2.asr_transducer.decoder.modules.mega.multi_head_damped_ema import (
    MultiHeadDampedEMA as EspnetEMA,
)
from torch import nn

from deploy_bias.model.decoder.damped_ema import (
    MultiHeadDampedEMA,
    convolution_by_fft,
    convolution_direct,
)
from tests.espnet.models import perturb

SIZE = 6


def pair(num_heads=4, truncation_length=None, activation=None):
    torch.manual_seed(0)
    activation = nn.Tanh() if activation is None else activation
    theirs = perturb(EspnetEMA(SIZE, num_heads, activation, truncation_length))
    ours = MultiHeadDampedEMA(SIZE, num_heads, activation, truncation_length)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    return ours, theirs


@pytest.mark.parametrize("num_heads", [1, 3, 4])
@pytest.mark.parametrize("truncation_length", [None, 1, 5, 40])
@pytest.mark.parametrize("length", [1, 2, 33])
def test_forward_equals_espnet(num_heads, truncation_length, length):
    ours, theirs = pair(num_heads, truncation_length)
    x = torch.randn(length, 3, SIZE)
    mask = torch.rand(3, 1, length) < 0.3
    with torch.no_grad():
        for given in (None, mask):
            torch.testing.assert_close(ours(x, given), theirs(x, given)[0], atol=2e-6, rtol=1e-5)


def test_truncation_and_mask_change_the_result():
    x = torch.randn(20, 1, SIZE)
    whole, _ = pair()
    cut, _ = pair(truncation_length=3)
    mask = torch.zeros(1, 1, 20, dtype=torch.bool)
    mask[..., 4] = True
    assert (whole(x) - cut(x)).abs().max() > 0.01
    assert (whole(x) - whole(x, mask)).abs().max() > 0.01


def test_step_equals_espnet():
    ours, theirs = pair()
    state = torch.zeros(3, SIZE, 4)
    with torch.no_grad():
        theirs_state = state
        for _ in range(10):
            x = torch.randn(3, SIZE)
            out, state = ours.step(x, state)
            expected, theirs_state = theirs(x.unsqueeze(0), state={"ema_state": theirs_state})
            torch.testing.assert_close(out, expected[0], atol=1e-6, rtol=1e-5)
            torch.testing.assert_close(state, theirs_state, atol=1e-6, rtol=1e-5)


def test_steps_equal_forward_without_truncation():
    ours = pair()[0].double()
    x = torch.randn(30, 2, SIZE, dtype=torch.float64)
    state = torch.zeros(2, SIZE, 4, dtype=torch.float64)
    steps = []
    for row in x:
        out, state = ours.step(row, state)
        steps.append(out)
    torch.testing.assert_close(torch.stack(steps), ours(x), atol=1e-12, rtol=1e-12)


def test_coefficients_are_never_stale():
    ours, theirs = pair()
    x, state = torch.randn(2, SIZE), torch.randn(2, SIZE, 4)
    before = ours.step(x, state)[0]
    ours(x.unsqueeze(0))
    perturb(theirs)
    ours.load_state_dict(theirs.state_dict())
    fresh = MultiHeadDampedEMA(SIZE, 4, nn.Tanh())
    fresh.load_state_dict(theirs.state_dict())
    after = ours.step(x, state)[0]
    assert torch.equal(after, fresh.step(x, state)[0])
    assert not torch.equal(after, before)


def test_an_undamped_average_is_finite():
    ours, _ = pair()
    with torch.no_grad():
        # sigmoid is 1 to the last bit, so q is 0.
        ours.damping_factor.fill_(100.0)
        ours.decay_factor.fill_(100.0)
    assert ours(torch.randn(5, 1, SIZE)).isfinite().all()


@pytest.mark.parametrize(("length", "taps"), [(1, 1), (7, 7), (50, 50), (50, 3)])
def test_both_convolutions_are_one_function(length, taps):
    x = torch.randn(2, SIZE, length, dtype=torch.float64)
    kernel = torch.randn(SIZE, taps, dtype=torch.float64)
    torch.testing.assert_close(convolution_direct(x, kernel), convolution_by_fft(x, kernel))


def test_the_exported_forward_has_no_fft():
    ours, _ = pair()
    x = torch.randn(12, 2, SIZE)
    program = torch.export.export(ours, (x,))
    assert not [node for node in program.graph.nodes if "fft" in str(node.target)]
    torch.testing.assert_close(program.module()(x), ours(x), atol=1e-6, rtol=1e-5)


def test_the_dtype_is_kept():
    ours, _ = pair()
    for dtype in (torch.float64, torch.bfloat16):
        assert ours.to(dtype)(torch.randn(4, 1, SIZE, dtype=dtype)).dtype == dtype


@pytest.mark.parametrize("name", ["size", "num_heads", "truncation_length"])
def test_a_number_below_one_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        MultiHeadDampedEMA(**({"size": 4} | {name: 0}))
