"""The frontend as a graph: how far from float64, in eager torch and on the runtimes."""

import copy

import numpy as np
import pytest
import torch

from deploy_bias.frontend import DefaultFrontend, FrontendStep, GlobalMVN, UtteranceMVN
from export.backends.executorch import _operators, lower
from tests.deploy_bias.frontends import (
    SETTINGS,
    digits,
    espnet_features,
    exact,
    pair,
    recordings,
)
from tests.deploy_bias.models import DIGITS, largest

ALLOWED = 4
"""How much farther from float64 than ESPnet's float32."""


def stress():
    """Noise, silence, a step, and a tone 80 dB above noise, which its neighbours must not drown."""
    noise = 0.1 * torch.randn(1, 8000)
    tone = 0.9 * torch.sin(0.35 * torch.arange(8000)).unsqueeze(0) + 0.001 * noise
    step = torch.cat([torch.zeros(1, 4000), torch.ones(1, 4000)], 1)
    return [noise, torch.zeros(1, 8000), step, tone]


def cut(step, samples):
    """Features (1, T, M) of utterance (1, S) by as many steps as it takes; reflected at the edges."""
    signal = torch.nn.functional.pad(samples, (step.n_fft // 2, step.n_fft // 2), mode="reflect")
    total = (signal.size(1) - step.n_fft) // step.hop_length + 1
    signal = torch.nn.functional.pad(signal, (0, step.samples))
    starts = range(0, total * step.hop_length, step.frames * step.hop_length)
    return [signal[:, start : start + step.samples] for start in starts], total


def check(frontend, normalize, theirs, run, frames, utterances):
    """The worst distance to float64, against the worst of ESPnet's own."""
    shape = FrontendStep(frontend, None, frames)
    worst, allowed = 0.0, 0.0
    for samples in utterances:
        pieces, total = cut(shape, samples)
        got = torch.cat([run(piece) for piece in pieces], 1)[:, :total]
        expected = exact(frontend, samples, normalize)
        assert got.shape == expected.shape
        worst = max(worst, largest(got - expected))
        allowed = max(allowed, ALLOWED * largest(espnet_features(*theirs, samples) - expected))
    assert worst <= allowed
    # ESPnet's own is rounding: nothing passes because it is large.
    assert allowed < ALLOWED * 0.05


class Without:
    """ESPnet's frontend without a normalisation, in the place of one with."""


@pytest.mark.parametrize("setting", SETTINGS)
class TestEager:
    def test_as_exact_as_espnet(self, setting):
        ours, theirs = pair(**SETTINGS[setting])
        step = FrontendStep(ours, None, 20)
        check(ours, None, theirs, step, 20, recordings()[::3])

    def test_the_definition_in_float64(self, setting):
        ours, _ = pair(**SETTINGS[setting])
        step = FrontendStep(ours.double(), None, 20)
        for samples in (*stress(), *recordings()[::3]):
            pieces, total = cut(step, samples.double())
            got = torch.cat([step(piece) for piece in pieces], 1)[:, :total]
            torch.testing.assert_close(got, ours(samples.double()), atol=1e-9, rtol=0)
