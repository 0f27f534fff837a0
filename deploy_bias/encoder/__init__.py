"""The encoder of ESPnet's `asr_transducer`: whole utterances, and chunks as they come."""

from deploy_bias.encoder.encoder import Encoder, build_encoder
from deploy_bias.encoder.step import EncoderStep

__all__ = ["Encoder", "EncoderStep", "build_encoder"]
