"""Read a checkpoint as data, and load the part that a module is made of, strictly."""

import datetime
import inspect
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from deploy_bias.bundle.contract import ModuleSpec
from deploy_bias.errors import SourceError

PLACEHOLDER = "_pe"
"""ESPnet's rotary bias saves this, which is never filled: any bits, NaN too."""

OPTIONAL = "num_batches_tracked"
"""Of a batch normalisation: it counts what training saw, and changes nothing in eval mode."""

PARTS = ("encoder", "decoder", "joint_network")
"""ESPnet's prefixes of the parts that every transducer has."""

_SCALAR = np.float64(0).__reduce__()[0]  # how a number of numpy is pickled
TRAINER_TYPES: tuple[Any, ...] = (
    datetime.timedelta,
    np.dtype,
    type(np.dtype(np.float32)),
    type(np.dtype(np.float64)),
    type(np.dtype(np.int64)),
    *((_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
)
"""What ESPnet's trainer writes beside tensors, in its reporter above all: numbers and durations."""

_Module = TypeVar("_Module", bound=nn.Module)


def part(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under a prefix, without it; of no prefix those without a dot."""
    if not prefix:
        return {name: tensor for name, tensor in state.items() if "." not in name}
    return {
        name.removeprefix(f"{prefix}."): tensor
        for name, tensor in state.items()
        if name.startswith(f"{prefix}.")
    }


def fill(
    module: _Module, prefix: str, state: Mapping[str, Tensor], section: str, where: str
) -> _Module:
    """Load a module's weights and return it in eval mode, without gradients.

    Args:
        module: made with the options of the config.
        prefix: of its weights in the checkpoint.
        state: the whole model.
        section: of config.yaml, where its options stand.
        where: the files, for errors.

    Raises:
        SourceError: a tensor is missing, unknown, of another shape or kind, or not finite.
    """
    given = {n: tensor for n, tensor in part(prefix, state).items() if not _is(PLACEHOLDER, n)}
    wanted = {n: tensor for n, tensor in module.state_dict().items() if not _is(PLACEHOLDER, n)}

    def full(name: str) -> str:
        return f"{prefix}.{name}".lstrip(".")

    missing = sorted(name for name in wanted.keys() - given.keys() if not _is(OPTIONAL, name))
    problems = [f"{full(name)} is missing" for name in missing] + [
        f"{full(name)} is unknown" for name in sorted(given.keys() - wanted.keys())
    ]
    problems += [
        f"{full(name)} has shape {tuple(given[name].shape)}, expected {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in given and given[name].shape != tensor.shape
    ]
    problems += [
        f"{full(name)} is {given[name].dtype}, expected floating-point values"
        for name, tensor in wanted.items()
        if name in given and tensor.is_floating_point() != given[name].is_floating_point()
    ]
    if problems:
        more = f", and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise SourceError(
            f"{where}: the weights do not fit {section}: {'; '.join(problems[:3])}{more}. Give the "
            "config.yaml that they were trained with."
        )
    module.load_state_dict(given, strict=False)
    loaded = module.state_dict()
    for name in wanted:
        check_finite(loaded[name], f"{where}: {full(name)}")
    return module.requires_grad_(False).eval()


def _is(leaf: str, name: str) -> bool:
    return name.rpartition(".")[2] == leaf


def build(
    kind: type[_Module],
    spec: ModuleSpec,
    section: str,
    state: Mapping[str, Tensor],
    where: str,
) -> _Module:
    """Make a module with the options of its config, and load its weights strictly.

    Args:
        kind: its class.
        spec: its options, and the prefix of its weights.
        section: of config.yaml, where its options stand.
        state: the whole model.
        where: the files, for errors.

    Raises:
        SourceError: an option is not supported, or the weights do not fit.
    """
    parameters = inspect.signature(kind).parameters.values()
    known = [p.name for p in parameters if p.kind is not p.VAR_KEYWORD]
    # Options that are not its own it passes on, to what refuses those that it does not know.
    passes_on = len(known) < len(parameters)
    if not passes_on and (unknown := [name for name in spec.options if name not in known]):
        raise SourceError(
            f"{where}: {section}: option {unknown[0]!r} is unknown, supported: {', '.join(known)}."
        )
    try:
        module = kind(**spec.options)
    except (TypeError, ValueError) as error:
        raise SourceError(f"{where}: {section}: {error}") from error
    return fill(module, spec.weights, state, section, where)


def named_weights(prefix: str, module: nn.Module) -> dict[str, Tensor]:
    """Return every tensor of a module by its name in the checkpoint."""
    return {
        f"{prefix}.{name}".lstrip("."): tensor.detach()
        for name, tensor in module.state_dict().items()
    }


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
            with torch.serialization.safe_globals(list(TRAINER_TYPES)):
                content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise SourceError(
            f"{path}: its pickle holds more than tensors, which could run code, so it is not "
            "read. Save the state_dict alone: torch.save(model.state_dict(), path)."
        ) from error
    except Exception as error:  # torch and safetensors raise many kinds for a damaged file
        raise SourceError(
            f"{path}: not a readable checkpoint ({first_line(error)}); expected a state_dict "
            "in .pth, .pt or .safetensors."
        ) from error
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        content = content["model"]  # ESPnet's checkpoint.pth: the model beside the optimizer
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    ):
        raise SourceError(f"{path}: expected a state_dict, names to tensors.")
    return content


def unwrap(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a model's tensors without the prefix that all share: of DataParallel, or a wrapper.

    Without such a prefix, or with one that leads to no transducer, they stay as they are.
    """
    names = list(state)
    while names and not any(name.split(".")[0] in PARTS for name in names):
        first = names[0].split(".")[0]
        if not all(name.startswith(f"{first}.") for name in names):
            return dict(state)
        names = [name.removeprefix(f"{first}.") for name in names]
    return dict(zip(names, state.values(), strict=True))


def check_finite(tensor: Tensor, where: str) -> None:
    """Raise a SourceError if a tensor holds NaN or infinity."""
    if tensor.is_floating_point() and not tensor.isfinite().all():
        raise SourceError(
            f"{where}: expected finite values; it holds others (a diverged training?)."
        )


def first_line(error: Exception) -> str:
    """Return the first line of a message, or the kind of an error without one."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
