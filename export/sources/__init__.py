"""Checkpoints: what each kind of experiment holds, in the names of ESPnet's `asr_transducer`."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from deploy_bias.errors import SourceError
from deploy_bias.export.sources import asr, espnet
from deploy_bias.export.sources.bias import build_bias_modules
from deploy_bias.export.sources.files import Files, open_files, read_yaml
from deploy_bias.export.sources.source import Bias, Source, Vocabulary
from deploy_bias.export.sources.state_dict import read_state_dict, unwrap

Reader = Callable[[Mapping[str, Any], Mapping[str, Tensor], Files, str], Source]

READERS: dict[str, Reader] = {"asr_transducer": espnet.read, "asr": asr.read}
"""By ESPnet's task: what reads an experiment's configuration and state_dict."""

__all__ = [
    "READERS",
    "Bias",
    "Source",
    "Vocabulary",
    "load",
    "read_loaded",
    "read_source",
    "task_of",
]


def read_source(
    source: Path | None, config: Path | None = None, checkpoint: Path | None = None
) -> Source:
    """Read an experiment, a pack of the model zoo, or the bias modules of a state_dict file.

    Args:
        source: a folder that holds config.yaml and a .pth, a pack (a folder or .zip that holds
            meta.yaml), or a .pth, .pt or .safetensors file.
        config: config.yaml, if it is not in the folder.
        checkpoint: the .pth, if it is not in the folder or the folder holds several.

    Raises:
        SourceError: a file is missing, unreadable or carries code, or the model is none that is
            supported.
    """
    with open_files(source, config, checkpoint) as files:
        return read_loaded(*load(files), files)


def load(files: Files) -> tuple[dict[str, Any] | None, dict[str, Tensor]]:
    """Return the content of config.yaml, if there is one, and the state_dict.

    Raises:
        SourceError: a file is missing, unreadable or carries code.
    """
    state = read_state_dict(files.checkpoint)
    return (None, state) if files.config is None else (read_config(files.config), unwrap(state))


def read_loaded(config: Mapping[str, Any] | None, state: dict[str, Tensor], files: Files) -> Source:
    """Read what `load` gave.

    Raises:
        SourceError: the model is none that is supported.
    """
    info = {"checkpoint": files.checkpoint.name}
    if config is None or files.config is None:
        biases = build_bias_modules(state, files.where)
        return Source(files.where, info, biases=biases, notes=files.notes)
    source = READERS[task_of(config)](config, state, files, files.where)
    info["config"] = files.config.name
    return replace(source, info=info, notes=(*files.notes, *source.notes))


def task_of(config: Mapping[str, Any]) -> str:
    """Return ESPnet's task of an experiment, which its config.yaml does not name.

    The encoder of `asr_transducer` has a body of blocks, and no name.
    """
    blocks = "body_conf" in (config.get("encoder_conf") or {})
    named = config.get("encoder") is not None or config.get("decoder") == "transducer"
    return "asr" if named and not blocks else "asr_transducer"


def read_config(config: Path) -> dict[str, Any]:
    """Return an experiment's config.yaml.

    Raises:
        SourceError: it is missing, unreadable, or no mapping.
    """
    if not config.is_file():
        raise SourceError(
            f"{config}: missing; expected the experiment's config.yaml. Give it with --config."
        )
    return read_yaml(config, str(config))
