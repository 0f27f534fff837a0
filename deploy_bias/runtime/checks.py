"""What several classes of the runtime check or do alike. No torch here."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

from deploy_bias.errors import ContractError

if TYPE_CHECKING:
    from deploy_bias.runtime.graph import Graph


class Closing:
    """Something that is closed, or used in a `with` statement."""

    def __init__(self) -> None:
        self._closed = False

    def check_open(self) -> None:
        """Raise a ContractError if the stream is closed."""
        if self._closed:
            raise ContractError("the stream is closed; open another one.")

    def close(self) -> None:
        """End the stream."""
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def check_kind(graph: Graph, kind: str, name: str) -> None:
    """Raise a ContractError unless this is a graph of a kind; `name` is what to call it."""
    way_out = f"take graphs[{kind!r}] of deploy_bias.runtime.load."
    contract = getattr(graph, "contract", None)
    if contract is None:
        raise ContractError(f"expected a graph, got {type(graph).__name__}; {way_out}")
    if contract.kind != kind:
        raise ContractError(f"graph {contract.name!r} is no {name}; {way_out}")


def describe(value: object) -> str:
    """Return the dtype and shape of an array, or the type of anything else."""
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__


def check_finite(rows: np.ndarray, row: str, way_out: str) -> None:
    """Raise a ContractError that names the first row (n, D) with NaN or infinity."""
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise ContractError(
            f"{row} {int(finite.argmin())} of {len(rows)} holds NaN or infinity; {way_out}."
        )
