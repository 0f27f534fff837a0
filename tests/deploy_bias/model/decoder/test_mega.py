"""One MEGA block, and the feed-forward after it, against ESPnet's."""

import pytest
import torch
from espnet2.asr_transducer.decoder.blocks.mega import MEGA as EspnetMEGA
from espnet2.asr_transducer.decoder.modules.mega.feed_forward import (
    NormalizedPositionwiseFeedForward as EspnetFeedForward,
)
from torch import nn

from deploy_bias.model.decoder.feed_forward import NormalizedPositionwiseFeedForward
from deploy_bias.model.decoder.mega import MEGA
from tests.espnet.models import perturb

SIZES = {"size": 6, "num_heads": 2, "qk_size": 4, "v_size": 10, "max_positions": 12}


def pair(**options):
    torch.manual_seed(0)
    modules = {"activation": nn.SiLU(), "normalization": nn.LayerNorm(6)}
    theirs = perturb(EspnetMEGA(**SIZES, **modules, **options))
    ours = MEGA(**SIZES, activation=nn.SiLU(), **options).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    return ours, theirs


@pytest.mark.parametrize("bias", ["simple", "rotary"])
@pytest.mark.parametrize("chunk_size", [-1, 4])
@pytest.mark.parametrize("truncation_length", [None, 3])
def test_equals_espnet(bias, chunk_size, truncation_length):
    ours, theirs = pair(
        rel_pos_bias_type=bias, chunk_size=chunk_size, truncation_length=truncation_length
    )
    x = torch.randn(12, 3, 6)
    mask = torch.zeros(3, 1, 12, dtype=torch.bool)
    mask[1, :, 7:] = mask[2, :, 4:] = True
    context = 4 if chunk_size == 4 else 12
    later = torch.ones(1, context, context, dtype=torch.bool).triu(1)
    with torch.no_grad():
        for arguments in [(), (mask,), (None, later), (mask, later)]:
            expected, _ = theirs(x, *arguments)
            torch.testing.assert_close(ours(x, *arguments), expected, atol=3e-6, rtol=1e-5)


def test_every_parameter_takes_part():
    for bias in ("simple", "rotary"):
        ours, _ = pair(rel_pos_bias_type=bias)
        ours(torch.randn(12, 2, 6)).square().sum().backward()
        for name, parameter in ours.named_parameters():
            assert parameter.grad.abs().max() > 1e-7, name


def test_a_query_that_sees_padding_alone_is_finite():
    # ESPnet gives NaN here: padding at the start of a chunk that is not all padding.
    ours, theirs = pair(chunk_size=4)
    x, mask = torch.randn(4, 1, 6), torch.tensor([[[True, False, False, False]]])
    later = torch.ones(1, 4, 4, dtype=torch.bool).triu(1)
    with torch.no_grad():
        out, expected = ours(x, mask, later), theirs(x, mask, later)[0]
    assert expected[0].isnan().all()
    assert out.isfinite().all()
    torch.testing.assert_close(out[1:], expected[1:], atol=3e-6, rtol=1e-5)


def test_chunk_size_replaces_max_positions():
    assert MEGA(**SIZES, chunk_size=5).rel_pos_bias.max_positions == 5
    assert MEGA(**SIZES, chunk_size=0).rel_pos_bias.max_positions == 12


def test_a_sequence_beyond_max_positions_is_refused():
    with pytest.raises(ValueError, match=r"length must be 1 to 12 \(max_positions\), got 13"):
        MEGA(**SIZES)(torch.zeros(13, 1, 6))


def test_an_unknown_bias_lists_the_known_ones():
    with pytest.raises(ValueError, match="must be 'simple' or 'rotary', got 'alibi'"):
        MEGA(**SIZES, rel_pos_bias_type="alibi")


def test_dropout_acts_in_training_alone():
    ours, _ = pair()
    for dropout in ("dropout_rate", "att_dropout_rate", "ema_dropout_rate"):
        block = MEGA(**SIZES, **{dropout: 0.5})
        block.load_state_dict(ours.state_dict())
        x = torch.randn(12, 2, 6)
        assert not torch.equal(block(x), block(x))
        assert torch.equal(block.eval()(x), block(x))


def test_the_feed_forward_equals_espnet():
    torch.manual_seed(0)
    theirs = perturb(EspnetFeedForward(6, 9, nn.LayerNorm(6), nn.SiLU(), 0.5))
    ours = NormalizedPositionwiseFeedForward(6, 9, activation=nn.SiLU(), dropout_rate=0.5).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    x = torch.randn(5, 2, 6)
    torch.testing.assert_close(ours(x), theirs(x))
    assert not torch.equal(ours.train()(x), ours(x))
