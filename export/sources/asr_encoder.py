"""The encoders of ESPnet's `asr` task: their options, and those of `asr_transducer` for the same.

Source: `espnet2.asr.encoder.conformer_encoder` and `.e_branchformer_encoder`, whose options and
defaults these are.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deploy_bias.errors import SourceError
from deploy_bias.model.encoder.positions import LEGACY_FRAMES

SUBSAMPLING = {"conv2d": 4, "conv2d2": 2, "conv2d6": 6}
ACTIVATIONS = ("hardtanh", "relu", "selu", "swish", "tanh")
ATTENTION = ("rel_selfattn", "legacy_rel_selfattn")
POSITIONS = ("rel_pos", "legacy_rel_pos")


@dataclass(frozen=True)
class EncoderKind:
    """An encoder of the task: its block, its options, and its names.

    defaults: ESPnet's, of the options that are read. fixed: of the others that change the result,
    what ESPnet takes when nothing is said, and what is supported. training: what changes nothing
    in decoding. names: parts of a block, there and here.
    """

    block_type: str
    activation: str
    defaults: Mapping[str, Any]
    fixed: Mapping[str, tuple[Any, tuple[Any, ...]]]
    names: Mapping[str, str]
    training: tuple[str, ...]


_DEFAULTS = {
    "output_size": 256,
    "attention_heads": 4,
    "linear_units": 2048,
    "input_layer": "conv2d",
    "max_pos_emb_len": LEGACY_FRAMES,
}
_FIXED = {
    "pos_enc_layer_type": ("rel_pos", POSITIONS),
    "positionwise_layer_type": ("linear", ("linear",)),
    "zero_triu": (False, (False,)),
    "interctc_use_conditioning": (False, (False,)),
}
# qk_norm and use_flash_attn are of an attention without positions, padding_idx is of embeddings.
_TRAINING = (
    "dropout_rate",
    "positional_dropout_rate",
    "attention_dropout_rate",
    "layer_drop_rate",
    "interctc_layer_idx",
    "padding_idx",
    "qk_norm",
    "use_flash_attn",
)
ENCODERS = {
    "conformer": EncoderKind(
        block_type="conformer",
        activation="activation_type",
        defaults=_DEFAULTS
        | {
            "num_blocks": 6,
            "cnn_module_kernel": 31,
            "activation_type": "swish",
            "rel_pos_type": "legacy",
        },
        fixed=_FIXED
        | {
            "selfattention_layer_type": ("rel_selfattn", ATTENTION),
            "macaron_style": (False, (True,)),
            "use_cnn_module": (True, (True,)),
            "normalize_before": (True, (True,)),
            "concat_after": (False, (False,)),
            "ctc_trim": (False, (False,)),
        },
        names={
            "self_attn": "self_att",
            "conv_module": "conv_mod",
            "norm_ff": "norm_feed_forward",
            "norm_ff_macaron": "norm_macaron",
            "norm_mha": "norm_self_att",
        },
        training=(*_TRAINING, "positionwise_conv_kernel_size", "stochastic_depth_rate"),
    ),
    "e_branchformer": EncoderKind(
        block_type="ebranchformer",
        activation="ffn_activation_type",
        defaults=_DEFAULTS
        | {
            "num_blocks": 12,
            "cgmlp_linear_units": 2048,
            "cgmlp_conv_kernel": 31,
            "merge_conv_kernel": 3,
            "ffn_activation_type": "swish",
            "rel_pos_type": "latest",
        },
        fixed=_FIXED
        | {
            "attention_layer_type": ("rel_selfattn", ATTENTION),
            "use_ffn": (False, (True,)),
            "macaron_ffn": (False, (True,)),
            "use_linear_after_conv": (False, (False,)),
            "gate_activation": ("identity", ("identity",)),
        },
        names={
            "attn": "self_att",
            "cgmlp.csgu": "conv_mod",
            "cgmlp.channel_proj1": "channel_proj1",
            "cgmlp.channel_proj2": "channel_proj2",
            "depthwise_conv_fusion": "depthwise_conv_mod.conv",
            "norm_ff": "norm_feed_forward",
            "norm_ff_macaron": "norm_feed_forward_macaron",
            "norm_mha": "norm_self_att",
        },
        training=(*_TRAINING, "gradient_checkpoint_layers"),
    ),
}


def encoder_kind(config: Mapping[str, Any], where: str) -> EncoderKind:
    """Return the kind of encoder that a config names.

    Raises:
        SourceError: it is not supported.
    """
    kind = ENCODERS.get(config.get("encoder") or "")
    if kind is None:
        raise SourceError(
            f"{where}: encoder {config.get('encoder')!r} is not supported for the asr task; "
            f"{', '.join(ENCODERS)} are."
        )
    return kind


def read_options(kind: EncoderKind, conf: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the options that are read, with ESPnet's defaults; the others are checked.

    Args:
        kind: the encoder.
        conf: the content of `encoder_conf`.
        where: the files, for errors.

    Raises:
        SourceError: an option is unknown, or changes the result and is not supported.
    """
    known = {*kind.defaults, *kind.fixed, *kind.training}
    if unknown := sorted(set(conf) - known):
        raise SourceError(
            f"{where}: encoder_conf: option {unknown[0]!r} is unknown, supported: "
            f"{', '.join(sorted(known))}."
        )
    allowed = {
        "input_layer": tuple(SUBSAMPLING),
        kind.activation: ACTIVATIONS,
        "rel_pos_type": ("latest", "legacy"),
        **{name: values for name, (_, values) in kind.fixed.items()},
    }
    defaults = {name: default for name, (default, _) in kind.fixed.items()} | dict(kind.defaults)
    options = defaults | dict(conf)
    for name, values in allowed.items():
        if options[name] not in values:
            default = "" if name in conf else ", ESPnet's default,"
            raise SourceError(
                f"{where}: encoder_conf: {name} {options[name]!r}{default} is not supported; "
                f"{' and '.join(map(repr, values))} {'is' if len(values) == 1 else 'are'}."
            )
    if options["rel_pos_type"] == "legacy" and options["max_pos_emb_len"] != LEGACY_FRAMES:
        raise SourceError(
            f"{where}: encoder_conf: max_pos_emb_len {options['max_pos_emb_len']!r} is not "
            f"supported with rel_pos_type legacy; {LEGACY_FRAMES} is."
        )
    return {name: options[name] for name in kind.defaults}


def translate_options(kind: EncoderKind, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return `encoder_conf` as `asr_transducer` has it."""
    block = {
        "block_type": kind.block_type,
        "hidden_size": options["output_size"],
        "linear_size": options["linear_units"],
        "heads": options["attention_heads"],
        "num_blocks": options["num_blocks"],
    }
    if kind.block_type == "conformer":
        block["conv_mod_kernel_size"] = options["cnn_module_kernel"]
    else:
        block["cgmlp_linear_units"] = options["cgmlp_linear_units"]
        block["conv_mod_kernel_size"] = options["cgmlp_conv_kernel"]
        block["depth_conv_kernel_size"] = options["merge_conv_kernel"]
    activation = options[kind.activation]
    return {
        "main_conf": {
            "pos_wise_act_type": activation,
            "conv_mod_act_type": activation,
            "rel_pos_type": options["rel_pos_type"],
        },
        "input_conf": {"subsampling_factor": SUBSAMPLING[options["input_layer"]]},
        "body_conf": [block],
    }
