"""What runs an artifact, one file a backend."""

import importlib
import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Protocol

import numpy as np

from deploy_bias.errors import BackendError, BundleError, OptionError
from deploy_bias.packages import message


class Session(Protocol):
    """An artifact that is ready to run."""

    label: str | None
    """The label found inside the artifact, or None."""

    def run(self, graph: str, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run one graph on inputs in the order of its contract."""


class Backend(Protocol):
    """What a file of this folder defines."""

    PACKAGE: str
    """What loads its artifacts."""
    EXTRA: str
    """The extra of pyproject.toml that brings all that it runs with."""
    OLDEST: dict[str, tuple[int, int]]
    """The packages that it runs with, and the oldest version of each that it was run with."""
    SUFFIX: str
    """How the file names of its artifacts end."""

    def providers(self) -> tuple[str, ...]:
        """Return the execution providers that are here; none if the backend knows no such thing."""

    def open_session(self, data: bytes, providers: Sequence[str] = ()) -> Session:
        """Load an artifact; without providers on the CPU. Any error is taken for a corrupt file."""


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


def unmet(name: str) -> str | None:
    """Return why a backend cannot run here, with the way out, or None.

    Raises:
        BackendError: there is no backend of that name.
    """
    module = backend(name)
    for package, oldest in module.OLDEST.items():
        try:
            importlib.import_module(package)
        except ImportError as error:
            return message(package, f"backend {name!r}", error, module.EXTRA)
        there = _version(package)
        if there is not None and _numbers(there) < oldest:
            return (
                f"backend {name!r} needs {package} {'.'.join(map(str, oldest))} or newer, and "
                f"{package} {there} is installed: pip install 'deploy-bias[{module.EXTRA}]' in an "
                "environment of its own, or leave this backend out."
            )
    return None


def require(name: str) -> None:
    """Raise a BackendError if a backend is unknown or cannot run here."""
    if why := unmet(name):
        raise BackendError(why)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:  # built in place, or under another name: it was imported
        return None


def _numbers(text: str) -> tuple[int, ...]:
    """Return the first two numbers of a version."""
    return tuple(int(number) for number in re.findall(r"\d+", text)[:2])


def check_providers(name: str, providers: Sequence[str]) -> None:
    """Check that a backend has some execution providers.

    Raises:
        OptionError: the backend knows none.
        BackendError: one is not here; the message says what is.
    """
    there = backend(name).providers() if providers else ()
    if providers and not there:
        raise OptionError(
            f"provider {', '.join(providers)}: backend {name!r} knows no execution providers; "
            "leave it out, or take the backend onnx."
        )
    for provider in providers:
        if provider not in there:
            raise BackendError(
                f"provider {provider!r} is not there; ONNX Runtime has {', '.join(there)} here. "
                "Take one of these, or install the build of ONNX Runtime that has it."
            )


def open_session(name: str, data: bytes, where: str, providers: Sequence[str] = ()) -> Session:
    """Load an artifact with a backend; `where` names the file in errors.

    Raises:
        BackendError: the backend is unknown or not installed, or has no such provider.
        OptionError: the backend knows no providers.
        BundleError: the backend refuses the file.
    """
    require(name)
    check_providers(name, providers)
    package = backend(name).PACKAGE
    try:
        return backend(name).open_session(data, providers)
    except Exception as error:  # each runtime has exceptions of its own for a corrupt file
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise BundleError(
            f"{where}: {package} cannot load it ({reason}). "
            "It is corrupt or made for another version; export again."
        ) from error
