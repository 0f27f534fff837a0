"""TorchScript."""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

PACKAGE = "torch"
EXTRA = "torchscript"
OLDEST = {"torch": (2, 9)}
SUFFIX = ".pt"


class _TorchScriptSession:
    def __init__(self, data: bytes) -> None:
        import torch

        extra = {"deploy_bias": ""}
        with deprecation_is_known():
            self._module = torch.jit.load(io.BytesIO(data), map_location="cpu", _extra_files=extra)
        found: str | bytes = extra["deploy_bias"]
        self.label: str | None = (found.decode() if isinstance(found, bytes) else found) or None

    def run(self, graph: str, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        import torch

        # A TorchScript file is one graph, so its name chooses nothing.
        # The optimiser compiles in the first calls, for seconds, and gains little after.
        with torch.inference_mode(), torch.jit.optimized_execution(False):
            outputs = self._module(*[torch.from_numpy(x) for x in inputs])
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        return [output.numpy() for output in outputs]


def providers() -> tuple[str, ...]:
    """Return none: it runs on the processor alone."""
    return ()


def open_session(data: bytes, providers: Sequence[str] = ()) -> _TorchScriptSession:
    """Load a TorchScript archive."""
    return _TorchScriptSession(data)


@contextmanager
def deprecation_is_known() -> Iterator[None]:
    """Leave out that torch deprecates TorchScript: it is no news to who asks for it.

    Once a call, a FutureWarning since torch 2.15; pytest's `-W error` would make it a failure.
    """
    with warnings.catch_warnings():
        for category in (DeprecationWarning, FutureWarning):
            warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is ", category)
        yield
