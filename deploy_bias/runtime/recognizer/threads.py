"""A stream that threads share: one gives it audio, one decodes, any closes it. No torch here."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from deploy_bias.errors import ContractError
from deploy_bias.runtime.checks import Closing


class ThreadedStream(Closing, ABC):
    """Open until it is closed; a second thread that feeds or decodes it meanwhile is refused."""

    def __init__(self) -> None:
        super().__init__()
        self._decoding = Lock()
        self._feeding = Lock()

    @contextmanager
    def feeding(self) -> Iterator[None]:
        """Give it audio in this thread.

        Raises:
            ContractError: the stream is closed, or another thread does.
        """
        self.check_open()
        with turn(self._feeding, "gives audio to"):
            yield

    @contextmanager
    def decoding(self) -> Iterator[None]:
        """Decode it or begin an utterance in this thread.

        Raises:
            ContractError: another thread does.
        """
        try:
            with turn(self._decoding, "decodes"):
                yield
        finally:
            if self._closed:  # meanwhile
                self._release()

    def close(self) -> None:
        """End the stream; a thread that decodes it finishes what it decodes first."""
        super().close()
        self._release()

    def _release(self) -> None:
        """Give back the memory of a closed stream; a thread that decodes it does so in the end."""
        if self._decoding.acquire(blocking=False):
            try:
                self._free()
            finally:
                self._decoding.release()

    @abstractmethod
    def _free(self) -> None:
        """Give back the memory."""


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
