"""The float64 reference is ESPnet's own formula, in float64 all through."""

import torch
from espnet2.asr_transducer.decoder.modules.mega import positional_bias as espnet

from deploy_bias.export.graphs.bias import eager_float32, exact_float64
from tests.conftest import BOTH


@BOTH
def test_exact_float64_is_espnet_in_float64(ours, theirs, arguments):
    module, oracle = ours(*arguments), theirs(*arguments)
    oracle.load_state_dict(module.state_dict())
    oracle.double()
    if theirs is espnet.RotaryRelativePositionBias:
        angle = torch.arange(64).double()[:, None] * 10000 ** (-torch.arange(8).double() / 8)
        oracle.sine, oracle.cosine = angle.sin(), angle.cos()
    scores = torch.randn(2, 5, 40)
    expected = scores.double() + oracle(40)[-5:]
    assert (exact_float64(module, scores) - expected).abs().max() < 1e-15


@BOTH
def test_eager_float32_is_the_module(ours, theirs, arguments):
    module = ours(*arguments)
    scores = torch.randn(2, 5, 40)
    assert torch.equal(eager_float32(module, scores), scores + module(40)[-5:])
