"""The arguments of a foreign graph: what cannot be meant is told before anything is exported."""

from collections.abc import Mapping, Sequence
from numbers import Integral

from torch import nn

from deploy_bias.bundle.contract import Append, Replace
from deploy_bias.errors import OptionError
from deploy_bias.export.parity.allowed import Allowed


def check_arguments(
    module: object,
    state: object,
    cases: object,
    steps: object,
    ranges: object,
) -> None:
    """Check the kinds of the arguments of a foreign graph.

    Raises:
        OptionError: one is of another kind.
    """
    if not isinstance(module, nn.Module):
        raise OptionError(f"module: expected a torch.nn.Module, got {_kind(module)}.")
    for where, given in {"state": state, "cases": cases, "ranges": ranges}.items():
        if not isinstance(given, Mapping):
            raise OptionError(f"{where}: expected a dict by name, got {_kind(given)}.")
    assert isinstance(state, Mapping)
    assert isinstance(ranges, Mapping)
    for name, rule in state.items():
        if not isinstance(rule, str | Replace | Append):
            raise OptionError(
                f"state: {name!r}: expected the name of an output, a Replace or an Append, got "
                f"{_kind(rule)}."
            )
    for name, found in ranges.items():
        pair = isinstance(found, Sequence) and len(found) == 2
        if (
            not pair
            or not all(isinstance(number, Integral) for number in found)
            or found[0] > found[1]
        ):
            raise OptionError(
                f"ranges: {name!r}: expected the least and the greatest number, got {found!r}."
            )
    if steps is None:
        return
    if not isinstance(steps, Integral) or steps < 1:
        raise OptionError(f"steps: expected a number of at least 1, got {steps!r}.")


def check_allow(allow: object) -> Mapping[str, Allowed]:
    """Check what is allowed by name.

    Raises:
        OptionError: it is no dict of `Allowed`, or one gives no reason or no distance.
    """
    if not isinstance(allow, Mapping):
        raise OptionError(f"allow: expected a dict by name, got {_kind(allow)}.")
    for name, rule in allow.items():
        if not isinstance(rule, Allowed):
            raise OptionError(f"allow: {name!r}: expected an Allowed, got {_kind(rule)}.")
        if not rule.because.strip():
            raise OptionError(f"allow: {name!r}: say because=, which stands in every report.")
        if rule.error is not None and not rule.error > 0:
            raise OptionError(
                f"allow: {name!r}: expected a distance above 0, or None to leave it out, got "
                f"{rule.error!r}."
            )
    return allow


def _kind(value: object) -> str:
    return type(value).__name__
