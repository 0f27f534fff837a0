"""One thread at a time. No torch here."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from deploy_bias.errors import ContractError


@contextmanager
def turn(lock: Lock, deed: str) -> Iterator[None]:
    """Hold a lock; a second thread is refused, and not kept waiting to go on with what changed.

    Args:
        lock: of what only one thread may do.
        deed: what that is, for the error.

    Raises:
        ContractError: another thread holds it.
    """
    if not lock.acquire(blocking=False):
        raise ContractError(
            f"another thread {deed} this stream; let one do it, or create a stream for each."
        )
    try:
        yield
    finally:
        lock.release()
