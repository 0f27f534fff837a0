"""Every normalisation of ESPnet with its options, and the form that the step graph uses."""

import pytest
import torch
from espnet2.asr_transducer.normalization import get_normalization as espnet_normalization
from torch import nn

from deploy_bias.export.steps.normalization import step_normalization
from deploy_bias.model.normalization import get_normalization
from tests.espnet.models import perturb

SIZE = 10
CASES = [
    ("layer_norm", {}),
    ("layer_norm", {"eps": 0.3}),
    ("basic_norm", {}),
    ("basic_norm", {"eps": 1.5}),
    ("rms_norm", {}),
    ("rms_norm", {"eps": 0.3}),
    ("rms_norm", {"partial": 0.35}),
    ("scale_norm", {}),
    ("scale_norm", {"eps": 4.0}),
    ("layer_norm", {"eps": None, "partial": None}),
]
ALL = pytest.mark.parametrize(("name", "options"), CASES)


def pair(name, options):
    torch.manual_seed(0)
    kind, arguments = espnet_normalization(name, **options)
    theirs = perturb(kind(SIZE, **arguments))
    ours = get_normalization(name, SIZE, **options).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    return ours, theirs


@ALL
def test_starts_as_espnet_does(name, options):
    kind, arguments = espnet_normalization(name, **options)
    theirs = kind(SIZE, **arguments).state_dict()
    ours = get_normalization(name, SIZE, **options).state_dict()
    assert list(ours) == list(theirs)
    for entry, value in ours.items():
        torch.testing.assert_close(value, theirs[entry], atol=0, rtol=1e-7)


@ALL
@pytest.mark.parametrize("magnitude", [1e-4, 1.0, 100.0])
def test_equals_espnet(name, options, magnitude):
    ours, theirs = pair(name, options)
    x = magnitude * torch.randn(3, 4, SIZE)
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-6, rtol=1e-5)


@ALL
@pytest.mark.parametrize("magnitude", [1e-4, 1.0, 100.0])
def test_the_step_form_is_the_same_function(name, options, magnitude):
    ours, _ = pair(name, options)
    x = magnitude * torch.randn(4, SIZE, dtype=torch.float64)
    ours = ours.double()
    torch.testing.assert_close(step_normalization(ours)(x), ours(x), atol=1e-11, rtol=1e-9)


@ALL
def test_zeros_give_no_nan(name, options):
    ours, _ = pair(name, options)
    zeros = torch.zeros(1, SIZE, requires_grad=True)
    ours(zeros).sum().backward()
    assert zeros.grad.isfinite().all()
    assert step_normalization(ours)(torch.zeros(1, SIZE)).isfinite().all()


def test_each_option_changes_its_normalization():
    x = torch.linspace(-1, 2, SIZE)
    for name, options in CASES:
        if any(value is not None for value in options.values()):
            changed = get_normalization(name, SIZE, **options)(x)
            assert (changed - get_normalization(name, SIZE)(x)).abs().max() > 0.01


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"must be one of layer_norm.*scale_norm, got 'batch'"):
        get_normalization("batch", SIZE)


def test_an_unknown_option_lists_the_known_ones():
    with pytest.raises(ValueError, match="'affine' is unknown, supported: eps, partial"):
        get_normalization("layer_norm", SIZE, affine=False)


def test_an_option_must_be_a_number():
    with pytest.raises(TypeError, match="eps must be a number, got '1e-5'"):
        get_normalization("layer_norm", SIZE, eps="1e-5")


def test_a_partial_of_no_feature_is_refused():
    with pytest.raises(ValueError, match=r"at least one of 10 features, got 0\.05"):
        get_normalization("rms_norm", SIZE, partial=0.05)


def test_the_eps_of_basic_norm_must_have_a_log():
    with pytest.raises(ValueError, match="eps must be above 0"):
        get_normalization("basic_norm", SIZE, eps=0.0)


def test_the_step_has_no_form_of_another_module():
    with pytest.raises(TypeError, match="got GroupNorm"):
        step_normalization(nn.GroupNorm(2, 4))
