"""The parity gate for any module, in a test of your own.

from deploy_bias.testing import assert_export_parity
assert_export_parity(module, example_inputs, steps=20, state={"hidden": "next_hidden"})

The gate itself is part of the exporter, `deploy_bias.export.testing`, and loads on first use.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from deploy_bias.packages import load

if TYPE_CHECKING:
    from deploy_bias.export.testing import Allowed, Artifact, ParityError, assert_export_parity

__all__ = ["Allowed", "Artifact", "ParityError", "assert_export_parity"]

observers: list[Callable[[dict[str, Any]], None]] = []
"""Called with what parity.json holds of each comparison; the pytest plugin is one."""


def __getattr__(name: str) -> Any:
    if name in __all__:
        return load("deploy_bias.export.testing", name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
