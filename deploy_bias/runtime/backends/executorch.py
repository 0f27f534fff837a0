"""ExecuTorch's own runtime. Its Python binding takes and gives torch tensors."""

import threading
from collections.abc import Sequence

import numpy as np

PACKAGE = "executorch"
EXTRA = "executorch"
OLDEST = {"executorch": (1, 4), "torch": (2, 13)}
"""pip does not know of torch: with 2.11, ExecuTorch 1.4 does not load, and 1.5 runs nothing."""
SUFFIX = ".pte"


class _ExecuTorchSession:
    def __init__(self, data: bytes) -> None:
        from executorch.runtime import Runtime

        # A method has one memory for its intermediate values.
        self._lock = threading.Lock()
        self._program = Runtime.get().load_program(data)
        self.label: str | None = None
        if "deploy_bias" in self._program.method_names:
            self.label = self._program.load_method("deploy_bias").execute([])[0]

    def run(self, graph: str, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        import torch

        tensors = [torch.from_numpy(x) for x in inputs]
        with self._lock:
            return [x.numpy() for x in self._program.load_method(graph).execute(tensors)]


def open_session(data: bytes) -> _ExecuTorchSession:
    """Load a .pte program."""
    return _ExecuTorchSession(data)
