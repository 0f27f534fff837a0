"""What runs an artifact, one file a backend."""

import importlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from deploy_bias.errors import BackendError, BundleError


class Session(Protocol):
    """An artifact that is ready to run."""

    label: str | None
    """The label found inside the artifact, or None."""

    def run(self, graph: str, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run one graph on inputs in the order of its contract."""


class Backend(Protocol):
    """What a file of this folder defines."""

    PACKAGE: str
    """The package whose import decides whether the backend is there, also its extra."""
    SUFFIX: str
    """How the file names of its artifacts end."""

    def open_session(self, data: bytes) -> Session:
        """Load an artifact. Any error is taken for a corrupt file."""


BACKENDS = {
    "executorch": "deploy_bias.runtime.backends.executorch",
    "onnx": "deploy_bias.runtime.backends.onnx",
    "torchscript": "deploy_bias.runtime.backends.torchscript",
}
"""Where each backend is; loaded when it is asked for."""


def backend(name: str) -> Backend:
    """Return one backend.

    Raises:
        BackendError: there is no backend of that name.
    """
    if name not in BACKENDS:
        raise BackendError(f"backend {name!r} is unknown; choose from {', '.join(BACKENDS)}.")
    module: Backend = importlib.import_module(BACKENDS[name])
    return module


def missing_package(name: str) -> str | None:
    """Return the package that a backend needs and that cannot be imported, or None.

    Raises:
        BackendError: there is no backend of that name.
    """
    package = backend(name).PACKAGE
    try:
        importlib.import_module(package)
    except ImportError:
        return package
    return None


def require(name: str) -> None:
    """Raise a BackendError if a backend is unknown or what it needs is not installed."""
    package = missing_package(name)
    if package:
        raise BackendError(
            f"backend {name!r} needs {package}, which cannot be imported: "
            f"pip install 'deploy-bias[{package if package != 'torch' else name}]'."
        )


def open_session(name: str, data: bytes, where: str) -> Session:
    """Load an artifact with a backend; `where` names the file in errors.

    Raises:
        BackendError: the backend is unknown or not installed.
        BundleError: the backend refuses the file.
    """
    require(name)
    package = backend(name).PACKAGE
    try:
        return backend(name).open_session(data)
    except Exception as error:  # each runtime has exceptions of its own for a corrupt file
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise BundleError(
            f"{where}: {package} cannot load it ({reason}). "
            "It is corrupt or made for another version; export again."
        ) from error
