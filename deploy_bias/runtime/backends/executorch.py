"""ExecuTorch's own runtime. Its Python binding takes and gives torch tensors."""

from collections.abc import Sequence

import numpy as np

PACKAGE = "executorch"
SUFFIX = ".pte"


class _ExecuTorchSession:
    def __init__(self, data: bytes) -> None:
        from executorch.runtime import Runtime

        self._program = Runtime.get().load_program(data)
        self.label: str | None = None
        if "deploy_bias" in self._program.method_names:
            self.label = self._program.load_method("deploy_bias").execute([])[0]

    def run(self, graph: str, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        import torch

        method = self._program.load_method(graph)
        return [output.numpy() for output in method.execute([torch.from_numpy(x) for x in inputs])]


def open_session(data: bytes) -> _ExecuTorchSession:
    """Load a .pte program."""
    return _ExecuTorchSession(data)
