"""A stream that threads share: one gives it audio, one decodes, any closes it. No torch here."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from types import TracebackType
from typing import Self

from deploy_bias.errors import ContractError


class ThreadedStream(ABC):
    """Open until it is closed; a second thread that feeds or decodes it meanwhile is refused."""

    def __init__(self) -> None:
        self._decoding = Lock()
        self._feeding = Lock()
        self._closed = False

    def check_open(self) -> None:
        """Raise a ContractError if the stream is closed."""
        if self._closed:
            raise ContractError("the stream is closed; create another one.")

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
        self._closed = True
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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


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
