"""An experiment of ESPnet's task `asr_transducer`."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from deploy_bias.bundle.contract import ModuleSpec
from deploy_bias.errors import SourceError
from deploy_bias.export.sources.files import Files
from deploy_bias.export.sources.frames import read_frames
from deploy_bias.export.sources.source import Source, Vocabulary
from deploy_bias.model.frontend import get_frontend

DECODER, JOINT = "decoder", "joint_network"
FRONTEND, ENCODER = "frontend", "encoder"
"""ESPnet's prefixes of the modules in a checkpoint."""


ASR_OPTIONS = {"main_conf": ("rel_pos_type",), "body_conf": ("cgmlp_linear_units",)}
"""Options of our encoder that ESPnet has in its `asr` task alone."""


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
        SourceError: an option is not supported, a part of the model or the token list is missing.
    """
    conf = section(config, "encoder_conf", where)
    for name, options in ASR_OPTIONS.items():
        parts = conf.get(name) or {}
        for part in parts if isinstance(parts, list) else [parts]:
            if unknown := [option for option in options if option in part]:
                raise SourceError(
                    f"{where}: encoder_conf: {name}: option {unknown[0]!r} is unknown; ESPnet has "
                    "it in its asr task alone."
                )
    return read_transducer(config, state, files, where)


def read_transducer(
    config: Mapping[str, Any], state: Mapping[str, Tensor], files: Files, where: str
) -> Source:
    """Read the modules of a transducer, by their options and names.

    Args:
        config: options as `asr_transducer` has them.
        state: the whole model, in its names.
        files: of the experiment.
        where: the files, for errors.

    Raises:
        SourceError: an option is not supported, a part of the model or the token list is missing.
    """
    names = (f"{DECODER}.embed.weight", f"{JOINT}.lin_enc.weight", f"{JOINT}.lin_dec.weight")
    if missing := [name for name in names if name not in state]:
        raise SourceError(
            f"{where}: {missing[0]} is missing; expected the whole model of an asr_transducer "
            "experiment. For the biases alone, give the checkpoint where no config.yaml is "
            "beside it."
        )
    embed, enc, dec = (state[name] for name in names)
    tokens = read_tokens(config, files, where)
    if not isinstance(tokens, list) or len(tokens) != embed.shape[0]:
        got = f"{len(tokens)} entries" if isinstance(tokens, list) else repr(tokens)
        raise SourceError(
            f"{where}: token_list: expected a list of {embed.shape[0]} tokens, as many as the "
            f"decoder embeds, got {got}."
        )
    joint_options = {
        "output_size": embed.shape[0],
        "encoder_size": enc.shape[1],
        "decoder_size": dec.shape[1],
        **section(config, "joint_network_conf", where),
    }
    decoder_options = {
        "vocab_size": embed.shape[0],
        **section(config, "decoder_conf", where),
    }
    parts = {
        "decoder": ModuleSpec(
            type=str(config.get("decoder", "rnn")), weights=DECODER, options=decoder_options
        ),
        "joint": ModuleSpec(type="JointNetwork", weights=JOINT, options=joint_options),
    }
    bpe_model, notes = _read_bpe_model(config, files)
    if config.get("speech_volume_normalize") is not None:
        notes += (
            f"speech_volume_normalize is {config['speech_volume_normalize']}: ESPnet's "
            "asr_inference command scales recordings so; its Speech2Text and this do not",
        )
    assert files.config is not None
    return Source(
        where=where,
        info={},
        parts={**parts, **_speech_parts(config, where)},
        state=state,
        vocabulary=Vocabulary(
            tokens=tuple(str(token) for token in tokens),
            token_type=config.get("token_type"),
            bpe_model=bpe_model,
        ),
        frames=read_frames(files.config.parent, state, joint_options["encoder_size"]),
        notes=notes,
    )


def _speech_parts(config: Mapping[str, Any], where: str) -> dict[str, ModuleSpec]:
    """Return the frontend and the encoder.

    There are none where the configuration has no encoder, or where features are made outside the
    model (`input_size` is set): then there is nothing from samples on.
    """
    if not config.get("encoder_conf") or config.get("input_size") is not None:
        return {}
    if config.get("frontend") not in (None, "default"):
        raise SourceError(f"{where}: frontend {config['frontend']!r} is not supported; default is.")
    frontend_conf = section(config, "frontend_conf", where)
    normalize_conf = section(config, "normalize_conf", where)
    try:
        features = get_frontend(**frontend_conf).output_size()
    except (TypeError, ValueError) as error:
        raise SourceError(f"{where}: frontend_conf: {error}") from error
    options = {
        "frontend_conf": frontend_conf,
        # Without a word of it ESPnet takes utterance_mvn.
        "normalize": config.get("normalize", "utterance_mvn"),
        "normalize_conf": _normalize_options(normalize_conf),
    }
    encoder_conf = section(config, "encoder_conf", where)
    return {
        "frontend": ModuleSpec(type="DefaultFrontend", weights=FRONTEND, options=options),
        "encoder": ModuleSpec(
            type="Encoder", weights=ENCODER, options={"input_size": features, **encoder_conf}
        ),
    }


def section(config: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    """Return the options of a part of a configuration.

    Raises:
        SourceError: they are no mapping.
    """
    options = config.get(name)
    if options is None:
        return {}
    if not isinstance(options, dict):
        raise SourceError(f"{where}: {name}: expected a mapping of options, got {options!r}.")
    return dict(options)


def read_tokens(config: Mapping[str, Any], files: Files, where: str) -> Any:
    """Return the token list, which may be the path of a file.

    Raises:
        SourceError: the file is not there, or no text.
    """
    tokens = config.get("token_list")
    if not isinstance(tokens, str):
        return tokens
    path = files.find(tokens)
    if path is None:
        raise SourceError(
            f"{where}: token_list: {tokens} is not there; put the file beside config.yaml."
        )
    try:
        return [line.rstrip() for line in path.read_text(encoding="utf-8").splitlines()]
    except UnicodeDecodeError as error:
        raise SourceError(f"{where}: token_list: {path} is no text ({error}).") from error


def _normalize_options(conf: Mapping[str, Any]) -> dict[str, Any]:
    """Return what acts in decoding: the statistics, and with them their eps, are in the weights."""
    return {name: value for name, value in conf.items() if name != "stats_file"}


def _read_bpe_model(
    config: Mapping[str, Any], files: Files
) -> tuple[bytes | None, tuple[str, ...]]:
    """Read the sentencepiece model, if it is found; else there is a note.

    Without it pieces are joined where words start, so it may be missing.
    """
    name = config.get("bpemodel")
    if name is None or config.get("token_type", "bpe") != "bpe":
        return None, ()
    path = files.find(name)
    if path is None:
        return None, (f"bpemodel {name} is not there: pieces are joined without it",)
    return path.read_bytes(), ()
