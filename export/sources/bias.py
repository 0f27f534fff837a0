"""Read an ESPnet experiment, or a bare state_dict, and build its bias modules again."""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deploy_bias.bundle.contract import BiasModule
from deploy_bias.errors import SourceError
from deploy_bias.export.sources.speech import Speech, read_speech
from deploy_bias.export.sources.transducer import Transducer, read_transducer
from deploy_bias.model.bias.positional_bias import RelativePositionBias, RotaryRelativePositionBias

Bias = RelativePositionBias | RotaryRelativePositionBias

DECODER_DEFAULTS = {"rel_pos_bias_type": "simple", "max_positions": 2048, "chunk_size": -1}
"""ESPnet's `MEGADecoder`: what a configuration that does not say means."""

USUAL_CHECKPOINTS = ("valid.loss.ave.pth", "valid.loss.best.pth")
"""Taken in this order when a folder holds several .pth files."""


@dataclass(frozen=True)
class Source:
    """What a checkpoint holds, and where it is from.

    modules: the bias modules, by the prefix of their parameters.
    transducer: the decoder around them; None for a bare state_dict.
    speech: the frontend and the encoder before it, if the experiment has them.
    weights: the tensors that all of it is made of, by their ESPnet names.
    """

    modules: dict[str, Bias]
    transducer: Transducer | None
    speech: Speech | None
    weights: dict[str, Tensor]
    info: dict[str, str]


def read_source(
    source: Path | None, config: Path | None = None, checkpoint: Path | None = None
) -> Source:
    """Read the bias modules of an experiment folder or a state_dict file.

    Args:
        source: a folder that holds config.yaml and a .pth, or a .pth, .pt or .safetensors file.
        config: config.yaml, if it is not in the folder.
        checkpoint: the .pth, if it is not in the folder or the folder holds several.

    Raises:
        SourceError: a file is missing, unreadable or carries code, or the model is no MEGA
            transducer or holds no bias.
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
    if config is None:
        modules = build_bias_modules(state, None, str(checkpoint))
        return Source(modules, None, None, bias_weights(modules), {"checkpoint": checkpoint.name})
    content = read_config(config)
    options = {**DECODER_DEFAULTS, **(content.get("decoder_conf") or {})}
    modules = build_bias_modules(state, options, str(checkpoint))
    transducer = read_transducer(content, state, config.parent, f"{checkpoint} with {config}")
    speech = read_speech(content, state, f"{checkpoint} with {config}")
    weights = transducer.weights() | ({} if speech is None else speech.weights())
    info = {"checkpoint": checkpoint.name, "config": config.name}
    return Source(modules, transducer, speech, weights, info)


def read_config(config: Path) -> dict[str, Any]:
    """Return an experiment's config.yaml.

    Raises:
        SourceError: unreadable, or the decoder is not MEGA.
    """
    import yaml

    if not config.is_file():
        raise SourceError(
            f"{config}: missing; expected the experiment's config.yaml. Give it with --config."
        )
    try:
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SourceError(f"{config}: not YAML ({_first_line(error)}).") from error
    if not isinstance(content, dict):
        raise SourceError(f"{config}: expected ESPnet's config.yaml, a mapping of options.")
    if content.get("decoder") != "mega":
        raise SourceError(
            f"{config}: decoder is {content.get('decoder')!r}; supported: 'mega', "
            "of an ESPnet asr_transducer experiment."
        )
    said = content.get("decoder_conf") or {}
    if not isinstance(said, dict):
        raise SourceError(f"{config}: decoder_conf: expected a mapping of options, got {said!r}.")
    options = {**DECODER_DEFAULTS, **said}
    for name in ("max_positions", "chunk_size"):
        if isinstance(options[name], bool) or not isinstance(options[name], int):
            raise SourceError(f"{config}: {name} must be an int, got {options[name]!r}.")
    if _max_positions(options) < 1:
        raise SourceError(
            f"{config}: max_positions must be at least 1, got {options['max_positions']}."
        )
    return content


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read a state_dict as data: no code in it is run.

    Raises:
        SourceError: missing, corrupt, carrying code, or no state_dict.
    """
    if not path.is_file():
        raise SourceError(f"{path}: no such file or folder.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise SourceError(
            f"{path}: its pickle holds more than tensors, which could run code, so it is not "
            "read. Save the state_dict alone: torch.save(model.state_dict(), path)."
        ) from error
    except Exception as error:  # torch and safetensors raise many kinds for a damaged file
        raise SourceError(
            f"{path}: not a readable checkpoint ({_first_line(error)}); expected a state_dict "
            "in .pth, .pt or .safetensors."
        ) from error
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        content = content["model"]  # ESPnet's checkpoint.pth: the model beside the optimizer
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    ):
        raise SourceError(f"{path}: expected a state_dict, names to tensors.")
    return content


def build_bias_module(said: BiasModule, state: Mapping[str, Tensor], where: str) -> Bias:
    """Build the module of a contract again.

    Raises:
        SourceError: the weights do not fit it.
    """
    own = {name: t for name, t in state.items() if name.rpartition(".")[0] == said.weights}
    options = {
        "rel_pos_bias_type": "rotary" if said.size else "simple",
        "max_positions": said.max_positions,
        "chunk_size": -1,
    }
    return build_bias_modules(own, options, where)[said.weights]


def build_bias_modules(
    state: dict[str, Tensor], options: dict[str, Any] | None, where: str
) -> dict[str, Bias]:
    """Build every bias module whose parameters are in a state_dict.

    Args:
        state: names to tensors.
        options: ESPnet's `decoder_conf`, or None for a bare state_dict, where a rotary bias
            gets ESPnet's default max_positions of 2048.
        where: the file, for errors.

    Returns:
        The modules by the prefix of their parameters, in the order of the state_dict.

    Raises:
        SourceError: none is found, or one does not fit the options or holds NaN or infinity.
    """
    modules: dict[str, Bias] = {}
    for name, tensor in state.items():
        prefix, _, leaf = name.rpartition(".")
        rotary = leaf == "alpha" and f"{prefix}.beta".lstrip(".") in state
        _check_pair(state, prefix, leaf, where)
        if leaf == "relative_position_bias" or rotary:
            if options is not None:
                _check_options(options, "rotary" if rotary else "simple", name, where)
            limit = None if options is None else _max_positions(options)
            module = _empty_bias(tensor, rotary, limit, f"{where}: {name}")
            _fill(module, state, prefix, where)
            modules[prefix] = module
    if not modules:
        raise SourceError(
            f"{where}: holds no relative position bias; expected parameters that end in "
            "relative_position_bias, or in alpha and beta."
        )
    return modules


def _check_pair(state: Mapping[str, Tensor], prefix: str, leaf: str, where: str) -> None:
    """Raise a SourceError for half a rotary bias: the blocks behind it would move up by one."""
    alpha, beta, marker = (f"{prefix}.{name}".lstrip(".") for name in ("alpha", "beta", "_pe"))
    if leaf in ("alpha", "beta", "_pe") and marker in state:
        for name in (alpha, beta):
            if name not in state:
                raise SourceError(
                    f"{where}: {name} is missing, and the rest of that rotary bias is there; "
                    "the checkpoint is damaged."
                )


def bias_weights(modules: dict[str, Bias]) -> dict[str, Tensor]:
    """Return the parameters of bias modules, by prefix and name."""
    return {
        f"{prefix}.{leaf}".lstrip("."): parameter.detach()
        for prefix, module in modules.items()
        for leaf, parameter in module.named_parameters()
    }


def _max_positions(options: dict[str, Any]) -> int:
    # ESPnet: a chunked block has no use for more positions than a chunk.
    chunk_size, limit = options["chunk_size"], options["max_positions"]
    return int(chunk_size if chunk_size > 0 else limit)


def _check_options(options: dict[str, Any], found: str, name: str, where: str) -> None:
    said = options["rel_pos_bias_type"]
    if said not in ("simple", "rotary"):
        raise SourceError(
            f"{where}: rel_pos_bias_type {said!r} is not supported, supported: simple, rotary."
        )
    if said != found:
        raise SourceError(
            f"{where}: {name} is a {found} bias, and the config says rel_pos_bias_type: {said}; "
            "the checkpoint and the config are of different models."
        )


def _empty_bias(tensor: Tensor, rotary: bool, limit: int | None, where: str) -> Bias:
    if rotary:
        if tensor.ndim != 2 or tensor.shape[0] != 1 or tensor.shape[1] % 2 or not tensor.numel():
            raise SourceError(f"{where}: expected shape (1, even), got {tuple(tensor.shape)}.")
        return RotaryRelativePositionBias(tensor.shape[1], 2048 if limit is None else limit)
    if tensor.ndim != 1 or tensor.shape[0] % 2 == 0:
        raise SourceError(f"{where}: expected shape (2P - 1,), got {tuple(tensor.shape)}.")
    held = (tensor.shape[0] + 1) // 2
    if limit not in (None, held):
        raise SourceError(f"{where}: holds {held} positions, and the config says {limit}.")
    return RelativePositionBias(held)


def _fill(module: Bias, state: dict[str, Tensor], prefix: str, where: str) -> None:
    with torch.no_grad():
        for leaf, parameter in module.named_parameters():
            name = f"{prefix}.{leaf}".lstrip(".")
            tensor = state[name]
            if tensor.shape != parameter.shape:
                raise SourceError(
                    f"{where}: {name}: expected shape {tuple(parameter.shape)}, "
                    f"got {tuple(tensor.shape)}."
                )
            if not tensor.is_floating_point():
                raise SourceError(
                    f"{where}: {name}: expected floating-point values, got {tensor.dtype}."
                )
            check_finite(parameter.copy_(tensor), f"{where}: {name}")
    module.requires_grad_(False).eval()


def check_finite(parameter: Tensor, where: str) -> None:
    """Raise a SourceError if a float32 parameter holds NaN or infinity."""
    if not parameter.isfinite().all():
        raise SourceError(
            f"{where}: expected finite float32 values; it holds others (a diverged training?)."
        )


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


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
