"""Transducers of ESPnet's `asr` task, in the names and options of `asr_transducer`.

The two tasks compute the same with other names. So a reader translates config and weights, and all
else sees an `asr_transducer` model:

- the encoder's blocks and their parts are renamed, and its positional encoding's factor, the root
  of D, is folded into the layer before it;
- the decoder's `decoder.N` is `rnn.N`, and embed_size is hidden_size;
- `joint_net_conf` is `joint_network_conf`. Whether `lin_dec` has a bias does not stand there:
  checkpoints made before February 2023 have none, and ESPnet draws it at random for them.

Source: `espnet2.tasks.asr`, `espnet2.asr.encoder.conformer_encoder` and `.e_branchformer_encoder`,
`espnet2.asr.decoder.transducer_decoder`, whose options and defaults these are.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from deploy_bias.errors import SourceError
from deploy_bias.export.sources.espnet import read_tokens, read_transducer
from deploy_bias.export.sources.files import Files
from deploy_bias.export.sources.source import Source
from deploy_bias.model.encoder.positions import LEGACY_FRAMES

BLANK = "<blank>"
DECODER_DEFAULTS = {"rnn_type": "lstm", "num_layers": 1, "hidden_size": 320}
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


WHOLE_ALONE = "ESPnet's asr task trains with the whole utterance in sight, and cannot stream."


def read(
    config: Mapping[str, Any], state: Mapping[str, Tensor], files: Files, where: str
) -> Source:
    """Read an experiment of the task.

    Args:
        config: the content of config.yaml.
        state: the whole model.
        files: of the experiment.
        where: the files, for errors.

    Raises:
        SourceError: the model is no transducer, an option is unknown or not supported, or a part of
            the model or the token list is missing.
    """
    if config.get("decoder") != "transducer":
        raise SourceError(
            f"{where}: decoder {config.get('decoder')!r} of ESPnet's asr task is not supported; "
            "transducer is."
        )
    config = {**config, "token_list": read_tokens(config, files, where)}
    translated, weights = translate(config, state, where)
    return replace(
        read_transducer(translated, weights, files, where),
        blank_durations=blank_durations(config),
        whole_alone=WHOLE_ALONE,
    )


def translate(
    config: Mapping[str, Any], state: Mapping[str, Tensor], where: str
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return config and weights as `asr_transducer` has them.

    Args:
        config: the content of config.yaml, of a transducer.
        state: the whole model.
        where: the files, for errors.

    Raises:
        SourceError: an option is unknown, or changes the result and is not supported.
    """
    for name in ("preencoder", "postencoder"):
        if config.get(name) is not None:
            raise SourceError(f"{where}: {name} {config[name]!r} is not supported.")
    if config.get("model") not in (None, "espnet"):
        raise SourceError(f"{where}: model {config['model']!r} is not supported; espnet is.")
    kind = ENCODERS.get(config.get("encoder") or "")
    if kind is None:
        raise SourceError(
            f"{where}: encoder {config.get('encoder')!r} is not supported for the asr task; "
            f"{', '.join(ENCODERS)} are."
        )
    options = _encoder_options(kind, config.get("encoder_conf") or {}, where)
    decoder = _decoder_conf(config.get("decoder_conf") or {}, where)
    joint = dict(config.get("joint_net_conf") or {})
    joint["lin_dec_bias"] = "joint_network.lin_dec.bias" in state
    translated = {
        **config,
        "token_list": _token_list(config, where),
        "encoder_conf": _encoder_conf(kind, options),
        "decoder": "rnn",
        "decoder_conf": decoder,
        "joint_network_conf": joint,
    }
    return translated, _translate_state(kind, options, state)


def blank_durations(config: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the frames of each blank; the first labels are blanks, and the last of them is usual.

    ESPnet's multi-blank transducers (arXiv:2211.03541) have several; any other has one, of 1.
    """
    durations = (config.get("model_conf") or {}).get("transducer_multi_blank_durations") or ()
    return (*reversed(durations), 1)


def _token_list(config: Mapping[str, Any], where: str) -> Any:
    """Return the tokens as ESPnet makes them: the big blanks stand before the blank."""
    tokens, big = config.get("token_list"), blank_durations(config)[:-1]
    if not big:
        return tokens
    blank = (config.get("model_conf") or {}).get("sym_blank", BLANK)
    blanks = [*(f"<blank{duration}>" for duration in big), blank]
    tokens = tokens if isinstance(tokens, list) else []
    others = [token for token in tokens if token not in blanks]
    if tokens[: len(tokens) - len(others)][-1:] != [blank]:
        raise SourceError(
            f"{where}: token_list: expected a list that begins with {blank}, or with "
            f"{', '.join(blanks)}, as transducer_multi_blank_durations says."
        )
    return [*blanks, *others]


def _encoder_options(kind: EncoderKind, conf: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the options that are read, with ESPnet's defaults; the others are checked."""
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
    said = {name: default for name, (default, _) in kind.fixed.items()}
    taken = said | dict(kind.defaults) | dict(conf)
    for name, values in allowed.items():
        if taken[name] not in values:
            default = "" if name in conf else ", ESPnet's default,"
            raise SourceError(
                f"{where}: encoder_conf: {name} {taken[name]!r}{default} is not supported; "
                f"{' and '.join(map(repr, values))} {'is' if len(values) == 1 else 'are'}."
            )
    if taken["rel_pos_type"] == "legacy" and taken["max_pos_emb_len"] != LEGACY_FRAMES:
        raise SourceError(
            f"{where}: encoder_conf: max_pos_emb_len {taken['max_pos_emb_len']!r} is not supported "
            f"with rel_pos_type legacy; {LEGACY_FRAMES} is."
        )
    return {name: taken[name] for name in kind.defaults}


def _encoder_conf(kind: EncoderKind, options: Mapping[str, Any]) -> dict[str, Any]:
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


def _decoder_conf(conf: Mapping[str, Any], where: str) -> dict[str, Any]:
    known = (*DECODER_DEFAULTS, "dropout", "dropout_embed")
    if unknown := sorted(set(conf) - set(known)):
        raise SourceError(
            f"{where}: decoder_conf: option {unknown[0]!r} is unknown, supported: "
            f"{', '.join(known)}."
        )
    options = {name: conf.get(name, default) for name, default in DECODER_DEFAULTS.items()}
    return {"embed_size": options["hidden_size"], **options}


def _translate_state(
    kind: EncoderKind, options: Mapping[str, Any], state: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the weights under the names of `asr_transducer`; what decoding ignores is left out."""
    translated = {}
    for name, tensor in state.items():
        if name.startswith("ctc."):
            continue
        new = _translate_name(name, kind.names)
        scale = math.sqrt(options["output_size"]) if new.startswith("encoder.embed.output.") else 1
        translated[new] = tensor * scale if scale != 1 else tensor
    return translated


def _translate_name(name: str, names: Mapping[str, str]) -> str:
    for old, new in (
        (r"^decoder\.decoder\.", "decoder.rnn."),
        (r"^encoder\.embed\.out\.0\.", "encoder.embed.output."),
        (r"^encoder\.after_norm\.", "encoder.encoders.norm_blocks."),
    ):
        if re.match(old, name):
            return re.sub(old, new, name)
    block = re.fullmatch(r"encoder\.encoders\.(\d+)\.(.+)", name)
    if block is None:
        return name
    number, rest = block.groups()
    for old, new in names.items():
        if rest.startswith(f"{old}."):
            rest = f"{new}.{rest.removeprefix(f'{old}.')}"
            break
    return f"encoder.encoders.blocks.{number}.{rest}"
