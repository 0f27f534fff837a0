"""What several classes of the runtime check or do alike. No torch here."""

from types import TracebackType
from typing import Self

import numpy as np

from deploy_bias.errors import ContractError


class Closing:
    """Something that is closed, or used in a `with` statement."""

    def __init__(self) -> None:
        self._closed = False

    def check_open(self) -> None:
        """Raise a ContractError if the stream is closed."""
        if self._closed:
            raise ContractError("the stream is closed; create another one.")

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


def describe(value: object) -> str:
    """Return the dtype and shape of an array, or the type of anything else."""
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__


def check_signal(samples: np.ndarray) -> None:
    """Raise a ContractError unless these are samples (any number,), float32."""
    if isinstance(samples, np.ndarray) and samples.dtype == np.float32 and samples.ndim == 1:
        return
    raise ContractError(
        f"samples must be a numpy array float32 with one axis, in [-1, 1), got {describe(samples)};"
        " divide 16-bit samples by 32768, and average channels."
    )


def check_finite(rows: np.ndarray, row: str, way_out: str) -> None:
    """Raise a ContractError that names the first row (n, D) with NaN or infinity."""
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise ContractError(
            f"{row} {int(finite.argmin())} of {len(rows)} holds NaN or infinity; {way_out}."
        )
