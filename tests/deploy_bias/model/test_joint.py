"""The joint network against ESPnet's."""

import pytest
import torch
from espnet2.asr_transducer.joint_network import JointNetwork as EspnetJoint

from deploy_bias import JointNetwork
from tests.espnet.models import perturb


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"joint_space_size": 5, "lin_dec_bias": False},
        {"joint_activation_type": "swish", "swish_beta": 1.5},
        {"joint_activation_type": "hardtanh", "hardtanh_max_val": 2},
    ],
)
def test_equals_espnet(options):
    torch.manual_seed(0)
    theirs = perturb(EspnetJoint(7, 6, 4, **options))
    ours = JointNetwork(7, 6, 4, **options)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    encoder, decoder = torch.randn(2, 5, 1, 6), torch.randn(2, 1, 3, 4)
    joined = ours(encoder, decoder)
    assert joined.shape == (2, 5, 3, 7)
    torch.testing.assert_close(joined, theirs(encoder, decoder))
    assert torch.equal(
        ours(ours.lin_enc(encoder), ours.lin_dec(decoder), no_projection=True), joined
    )


def test_an_unknown_activation_is_named():
    with pytest.raises(ValueError, match="got 'gelu'"):
        JointNetwork(7, 6, 4, joint_activation_type="gelu")
