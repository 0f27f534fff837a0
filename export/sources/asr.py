"""Transducers of ESPnet's `asr` task, in the names and options of `asr_transducer`.

The two tasks compute the same with other names. So a reader translates config and weights, and all
else sees an `asr_transducer` model:

- the encoder's blocks and their parts are renamed, and its positional encoding's factor, the root
  of D, is folded into the layer before it;
- the decoder's `decoder.N` is `rnn.N`, and embed_size is hidden_size;
- `joint_net_conf` is `joint_network_conf`. Whether `lin_dec` has a bias does not stand there:
  checkpoints made before February 2023 have none, and ESPnet draws it at random for them.

Source: `espnet2.tasks.asr`, `espnet2.asr.decoder.transducer_decoder`, whose options and defaults
these are.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from deploy_bias.errors import SourceError
from deploy_bias.export.sources.asr_encoder import (
    EncoderKind,
    encoder_kind,
    read_options,
    translate_options,
)
from deploy_bias.export.sources.espnet import read_tokens, read_transducer
from deploy_bias.export.sources.files import Files
from deploy_bias.export.sources.source import Source

BLANK = "<blank>"
DECODER_DEFAULTS = {"rnn_type": "lstm", "num_layers": 1, "hidden_size": 320}


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
    kind = encoder_kind(config, where)
    options = read_options(kind, config.get("encoder_conf") or {}, where)
    decoder = _decoder_conf(config.get("decoder_conf") or {}, where)
    joint = dict(config.get("joint_net_conf") or {})
    joint["lin_dec_bias"] = "joint_network.lin_dec.bias" in state
    translated = {
        **config,
        "token_list": _token_list(config, where),
        "encoder_conf": translate_options(kind, options),
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
