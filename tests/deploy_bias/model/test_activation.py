"""Every activation of ESPnet, with its options."""

import pytest
import torch
from espnet2.asr_transducer.activation import get_activation as espnet_activation

from deploy_bias.model.activation import get_activation

CASES = [
    ("ftswish", {}),
    ("ftswish", {"ftswish_threshold": -0.5, "ftswish_mean_shift": 0.1}),
    ("hardtanh", {}),
    ("hardtanh", {"hardtanh_min_val": -2, "hardtanh_max_val": 3}),
    ("leaky_relu", {}),
    ("leaky_relu", {"leakyrelu_neg_slope": 0.3}),
    ("mish", {}),
    ("mish", {"softplus_beta": 2.0, "softplus_threshold": 10}),
    ("relu", {}),
    ("selu", {}),
    ("smish", {}),
    ("smish", {"smish_alpha": 2.0, "smish_beta": 0.5}),
    ("smish", {"smish_alpha": -1.0, "smish_beta": 0.0}),
    ("swish", {}),
    ("swish", {"swish_beta": 1.7}),
    ("swish", {"swish_beta": 0.4}),
    ("tanh", {}),
    ("identity", {}),
]


@pytest.mark.parametrize(("name", "options"), CASES)
def test_equals_espnet(name, options):
    x = torch.linspace(-25, 25, 2001)
    ours, theirs = get_activation(name, **options), espnet_activation(name, **options)
    torch.testing.assert_close(ours(x.clone()), theirs(x.clone()), atol=1e-6, rtol=1e-6)
    assert list(ours.state_dict()) == list(theirs.state_dict()) == []


def test_each_option_changes_its_activation():
    x = torch.linspace(-4, 4, 101)
    for name, options in CASES:
        if options and name != "mish" and options not in ({"swish_beta": 0.4}, CASES[12][1]):
            assert not torch.equal(get_activation(name, **options)(x), get_activation(name)(x))


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"activation_type must be one of .*swish.*got 'gelu'"):
        get_activation("gelu")


def test_an_unknown_option_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'beta' is unknown, supported: .*swish_beta"):
        get_activation("swish", beta=2.0)


def test_an_option_must_be_a_number():
    with pytest.raises(TypeError, match="swish_beta must be a number, got '1e3'"):
        get_activation("swish", swish_beta="1e3")


def test_a_threshold_of_ftswish_must_be_negative():
    with pytest.raises(ValueError, match="ftswish_threshold must be less than 0, got 0"):
        get_activation("ftswish", ftswish_threshold=0)
