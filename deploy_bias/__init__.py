"""ESPnet's MEGA transducer decoder, made to leave the training cluster.

The modules need torch and load on first use; `deploy_bias.runtime` runs without it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deploy_bias.positional_bias import RelativePositionBias, RotaryRelativePositionBias

__version__ = "0.1.0"
__all__ = ["RelativePositionBias", "RotaryRelativePositionBias", "__version__"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from deploy_bias import positional_bias  # noqa: PLC0415

        return getattr(positional_bias, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
