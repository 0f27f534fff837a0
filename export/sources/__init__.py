"""Checkpoints: what each kind of experiment holds, in the names of ESPnet's `asr_transducer`."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from deploy_bias.errors import SourceError
from deploy_bias.export.sources import espnet
from deploy_bias.export.sources.bias import build_bias_modules
from deploy_bias.export.sources.source import Bias, Source, Vocabulary
from deploy_bias.export.sources.state_dict import first_line, read_state_dict

READERS = {"asr_transducer": espnet.read}
"""By ESPnet's task: what reads an experiment's configuration and state_dict."""

USUAL_CHECKPOINTS = ("valid.loss.ave.pth", "valid.loss.best.pth")
"""Taken in this order when a folder holds several .pth files."""

__all__ = ["READERS", "Bias", "Source", "Vocabulary", "read_source"]


def read_source(
    source: Path | None, config: Path | None = None, checkpoint: Path | None = None
) -> Source:
    """Read an experiment folder, or the bias modules of a state_dict file.

    Args:
        source: a folder that holds config.yaml and a .pth, or a .pth, .pt or .safetensors file.
        config: config.yaml, if it is not in the folder.
        checkpoint: the .pth, if it is not in the folder or the folder holds several.

    Raises:
        SourceError: a file is missing, unreadable or carries code, or the model is none that is
            supported.
    """
    if source is not None and source.is_dir():
        config = config or source / "config.yaml"
        checkpoint = checkpoint or _pick_checkpoint(source)
    elif source is not None:
        if checkpoint is not None:
            raise SourceError(f"{source} and --checkpoint {checkpoint}: give one of the two.")
        checkpoint = source
    if checkpoint is None:
        raise SourceError(
            "no checkpoint given: name an experiment folder, a state_dict, or --checkpoint."
        )
    state = read_state_dict(checkpoint)
    info = {"checkpoint": checkpoint.name}
    if config is None:
        where = str(checkpoint)
        return Source(where, info, biases=build_bias_modules(state, where))
    content = read_config(config)
    where = f"{checkpoint} with {config}"
    read = READERS["asr_transducer"](content, state, config.parent, where)
    return replace(read, info={**info, "config": config.name})


def read_config(config: Path) -> dict[str, Any]:
    """Return an experiment's config.yaml.

    Raises:
        SourceError: it is missing, unreadable, or no mapping.
    """
    import yaml

    if not config.is_file():
        raise SourceError(
            f"{config}: missing; expected the experiment's config.yaml. Give it with --config."
        )
    try:
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SourceError(f"{config}: not YAML ({first_line(error)}).") from error
    if not isinstance(content, dict):
        raise SourceError(f"{config}: expected ESPnet's config.yaml, a mapping of options.")
    return content


def _pick_checkpoint(folder: Path) -> Path:
    found = sorted(folder.glob("*.pth"))
    usual = [folder / name for name in USUAL_CHECKPOINTS if (folder / name).is_file()]
    if usual:
        return usual[0]
    if len(found) == 1:
        return found[0]
    names = ", ".join(path.name for path in found) or "none"
    raise SourceError(
        f"{folder}: expected one .pth, or one of {' or '.join(USUAL_CHECKPOINTS)}; found {names}. "
        "Choose with --checkpoint."
    )
