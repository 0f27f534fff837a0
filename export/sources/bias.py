"""The relative position biases of a bare state_dict, which has no config."""

from collections.abc import Mapping

from torch import Tensor

from deploy_bias.errors import SourceError
from deploy_bias.export.sources.source import Bias
from deploy_bias.export.sources.state_dict import fill
from deploy_bias.model.bias.positional_bias import RelativePositionBias, RotaryRelativePositionBias

ROTARY_POSITIONS = 2048
"""max_positions of a rotary bias, ESPnet's default: its parameters do not say."""


def build_bias_modules(state: Mapping[str, Tensor], where: str) -> dict[str, Bias]:
    """Build every bias module whose parameters are in a state_dict.

    Args:
        state: names to tensors.
        where: the file, for errors.

    Returns:
        The modules by the prefix of their parameters, in the order of the state_dict.

    Raises:
        SourceError: none is there, one is there by half, or one is of a shape that no bias has or
            holds NaN or infinity.
    """
    modules: dict[str, Bias] = {}
    for name, tensor in state.items():
        prefix, _, leaf = name.rpartition(".")
        rotary = leaf == "alpha" and f"{prefix}.beta".lstrip(".") in state
        _check_pair(state, prefix, leaf, where)
        if leaf == "relative_position_bias" or rotary:
            module = _empty_bias(tensor, rotary, f"{where}: {name}")
            modules[prefix] = fill(module, prefix, state, "a bias", where)
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


def _empty_bias(tensor: Tensor, rotary: bool, where: str) -> Bias:
    if rotary:
        if tensor.ndim != 2 or tensor.shape[0] != 1 or tensor.shape[1] % 2 or not tensor.numel():
            raise SourceError(f"{where}: expected shape (1, even), got {tuple(tensor.shape)}.")
        return RotaryRelativePositionBias(tensor.shape[1], ROTARY_POSITIONS)
    if tensor.ndim != 1 or tensor.shape[0] % 2 == 0:
        raise SourceError(f"{where}: expected shape (2P - 1,), got {tuple(tensor.shape)}.")
    return RelativePositionBias((tensor.shape[0] + 1) // 2)
