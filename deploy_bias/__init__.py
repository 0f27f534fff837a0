"""ESPnet's transducer decoders, made to leave the training cluster.

The modules need torch and load on first use; `deploy_bias.runtime` runs without it.
"""

from typing import TYPE_CHECKING, Any

from deploy_bias.packages import load

if TYPE_CHECKING:
    from deploy_bias.model.bias.positional_bias import (
        RelativePositionBias,
        RotaryRelativePositionBias,
    )
    from deploy_bias.model.decoder.mega_decoder import MEGADecoder
    from deploy_bias.model.decoder.rnn_decoder import RNNDecoder
    from deploy_bias.model.decoder.rwkv_decoder import RWKVDecoder
    from deploy_bias.model.decoder.stateless_decoder import StatelessDecoder
    from deploy_bias.model.joint import JointNetwork

__version__ = "0.1.0"
__all__ = [
    "JointNetwork",
    "MEGADecoder",
    "RNNDecoder",
    "RWKVDecoder",
    "RelativePositionBias",
    "RotaryRelativePositionBias",
    "StatelessDecoder",
    "__version__",
]
_HOME = {
    "JointNetwork": "deploy_bias.model.joint",
    "MEGADecoder": "deploy_bias.model.decoder.mega_decoder",
    "RNNDecoder": "deploy_bias.model.decoder.rnn_decoder",
    "RWKVDecoder": "deploy_bias.model.decoder.rwkv_decoder",
    "RelativePositionBias": "deploy_bias.model.bias.positional_bias",
    "RotaryRelativePositionBias": "deploy_bias.model.bias.positional_bias",
    "StatelessDecoder": "deploy_bias.model.decoder.stateless_decoder",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return load(_HOME[name], name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
