"""ExecuTorch's own runtime. Its Python binding takes and gives torch tensors."""

import contextlib
import io
import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from deploy_bias.errors import BackendError

PACKAGE = "executorch"
EXTRA = "executorch"
OLDEST = {"executorch": (1, 4), "torch": (2, 13)}
"""pip does not know of torch: with 2.11, ExecuTorch 1.4 does not load, and 1.5 runs nothing."""
SUFFIX = ".pte"
MISSING = re.compile(r"issing operator:? *(?:\[\d+\])? *([\w:.]+)")


class _ExecuTorchSession:
    def __init__(self, data: bytes) -> None:
        def open_program() -> Any:
            from executorch.runtime import Runtime

            return Runtime.get().load_program(data)

        # A method has one memory for its intermediate values.
        self._lock = threading.Lock()
        self._program, _ = _with_its_lines(open_program)
        if isinstance(self._program, Exception):
            raise self._program
        self._loaded: set[str] = set()
        self.label: str | None = None
        if "deploy_bias" in self._program.method_names:
            self.label = load_method(self._program, "deploy_bias").execute([])[0]

    def run(self, graph: str, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        import torch

        tensors = [torch.from_numpy(x) for x in inputs]
        with self._lock:
            return [x.numpy() for x in self._load(graph).execute(tensors)]

    def _load(self, graph: str) -> Any:
        if graph in self._loaded:
            return self._program.load_method(graph)
        method = load_method(self._program, graph)
        self._loaded.add(graph)
        return method


def load_method(program: Any, name: str) -> Any:
    """Load a method of a program, without the lines that the runtime writes meanwhile.

    Raises:
        BackendError: the runtime has no kernel for one of its operators.
    """
    method, lines = _with_its_lines(lambda: program.load_method(name))
    if isinstance(method, Exception):
        # The error is a number; the names are among what it writes.
        if missing := sorted(set(MISSING.findall(lines))):
            raise BackendError(
                f"{name}: ExecuTorch's runtime has no kernel for {', '.join(missing)}; take "
                "other operators in the module, or a runtime that is built with these."
            ) from method
        sys.stderr.write(lines)
        raise method
    return method


def _with_its_lines(load: Callable[[], Any]) -> tuple[Any, str]:
    """Return what a function gives or raises, and what native code writes to stderr meanwhile.

    The binding writes to Python's, the libraries below it to the process's own.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    lines = io.StringIO()
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            with contextlib.redirect_stderr(lines):
                result = load()
        except Exception as error:  # the caller tells of it
            result = error
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        file.seek(0)
        return result, lines.getvalue() + file.read().decode(errors="replace")


def providers() -> tuple[str, ...]:
    """Return none: it runs on the processor alone."""
    return ()


def open_session(data: bytes, providers: Sequence[str] = ()) -> _ExecuTorchSession:
    """Load a .pte program."""
    return _ExecuTorchSession(data)
