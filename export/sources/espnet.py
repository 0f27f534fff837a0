"""An experiment of ESPnet's task `asr_transducer`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from deploy_bias.bundle.contract import ModuleSpec
from deploy_bias.errors import SourceError
from deploy_bias.export.sources.frames import read_frames
from deploy_bias.export.sources.source import Source, Vocabulary
from deploy_bias.model.frontend import get_frontend

DECODER, JOINT = "decoder", "joint_network"
FRONTEND, ENCODER = "frontend", "encoder"
"""ESPnet's prefixes of the modules in a checkpoint."""


def read(
    config: Mapping[str, Any], state: Mapping[str, Tensor], folder: Path, where: str
) -> Source:
    """Read the modules of a transducer, by their options and names.

    Args:
        config: the content of config.yaml.
        state: the whole model.
        folder: of config.yaml, which may hold encoder frames.
        where: the files, for errors.

    Raises:
        SourceError: an option is not supported, a part of the model or the token list is missing.
    """
    names = (f"{DECODER}.embed.weight", f"{JOINT}.lin_enc.weight", f"{JOINT}.lin_dec.weight")
    if missing := [name for name in names if name not in state]:
        raise SourceError(
            f"{where}: {missing[0]} is missing; expected the whole model of an asr_transducer "
            "experiment. For the biases alone, give the checkpoint without a config."
        )
    embed, enc, dec = (state[name] for name in names)
    tokens = config.get("token_list")
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
    return Source(
        where=where,
        info={},
        parts={**parts, **_speech_parts(config, where)},
        state=state,
        vocabulary=Vocabulary(
            tokens=tuple(str(token) for token in tokens),
            token_type=config.get("token_type"),
            bpe_model=_read_bpe_model(config.get("bpemodel"), folder),
        ),
        frames=read_frames(folder, state, joint_options["encoder_size"]),
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
        "normalize": config.get("normalize"),
        "normalize_conf": {
            name: bool(normalize_conf[name])
            for name in ("norm_means", "norm_vars")
            if name in normalize_conf
        },
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


def _read_bpe_model(path: str | None, folder: Path) -> bytes | None:
    """Read the sentencepiece model, if it is found.

    A recipe names it relative to its own folder, two above the experiment's. Without it pieces
    are joined where words start, so it may be missing.
    """
    if path is None:
        return None
    for place in (folder, folder.parent.parent, Path()):
        for name in (path, Path(path).name):
            if (place / name).is_file():
                return (place / name).read_bytes()
    return None
