"""Packages that only some of the work needs: one that is missing is named with its pip line."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from deploy_bias.errors import BackendError

EXTRAS = {
    "av": "audio",
    "executorch": "executorch",
    "jinja2": "report",
    "jiwer": "evaluate",
    "matplotlib": "report",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "onnxscript": "onnx",
    "sentencepiece": "recognizer",
    "sounddevice": "microphone",
    "soxr": "recognizer",
    "torch": "export",
    "torchao": "executorch",
    "yaml": "export",
}
"""The extra of pyproject.toml that brings a package, by the name that it is imported by."""


@contextmanager
def needed(package: str, work: str) -> Iterator[None]:
    """Import a package here.

    Args:
        package: one of `EXTRAS`.
        work: what needs it, for the error.

    Raises:
        BackendError: it, or a library that it loads, is not installed.
    """
    try:
        yield
    except (ImportError, OSError) as error:  # OSError: a shared library is not found
        raise BackendError(message(package, work, error)) from error


def load(module: str, name: str) -> Any:
    """Return an attribute of a module that is imported now; for its errors see `needed`."""
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError as error:
        if (package := missing(error)) is None:
            raise
        door = ".".join(module.split(".")[:2])
        raise BackendError(message(package, door, error)) from error


def missing(error: ImportError) -> str | None:
    """Return the package of `EXTRAS` that an import did not find, or None if it is another."""
    package = (error.name or "").partition(".")[0]
    return package if package in EXTRAS else None


def message(package: str, work: str, error: Exception, extra: str | None = None) -> str:
    """Return that some work needs a package of `EXTRAS`, why it is not there, and the way out.

    Args:
        package: by the name that it is imported by.
        work: what needs it.
        error: of its import.
        extra: that brings it for this work, if another than usual.
    """
    extra = extra or EXTRAS[package]
    why = f" ({' '.join(str(error).split())})"
    line = f"pip install 'deploy-bias[{extra}]'"
    if extra == "export":
        line += ", or [onnx], [torchscript] or [executorch] for one backend alone"
    return f"{work} needs {package}, which cannot be imported{why}: {line}."
