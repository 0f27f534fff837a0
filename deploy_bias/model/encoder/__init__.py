"""The encoder of ESPnet's `asr_transducer`: whole utterances, and chunks as they come."""

from deploy_bias.model.encoder.encoder import Encoder, build_encoder

__all__ = ["Encoder", "build_encoder"]
