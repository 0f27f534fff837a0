"""Files that somebody else made of a module, one reader a kind: the suffix says which.

A new kind is one file here, with `open_file`, and one entry in `READERS`.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from deploy_bias.errors import OptionError
from deploy_bias.export.parity.results import ProvenPrecision
from deploy_bias.export.testing.module_graph import ModuleGraph

READERS = {
    ".onnx": "deploy_bias.export.testing.artifacts.onnx",
    ".pt": "deploy_bias.export.testing.artifacts.torchscript",
    ".pt2": "deploy_bias.export.testing.artifacts.torch_export",
    ".pte": "deploy_bias.export.testing.artifacts.executorch",
    ".xml": "deploy_bias.export.testing.artifacts.openvino",
}
"""Where the reader of each kind of file is; loaded when it is asked for."""

PRECISIONS: tuple[ProvenPrecision, ...] = ("fp32", "fp16", "bf16", "int8", "int4")
"""What a file may be said to compute in."""
Function = Callable[..., Any]
"""Takes a numpy array for each input, by name; gives a dict of arrays by name, a tuple of them in
the module's order, or the one array."""


@dataclass(frozen=True)
class Artifact:
    """A file of your own, or a function, and what cannot be read from it.

    Attributes:
        source: the path; or a function, see `Function`.
        inputs: the file's name of a module's input, by the module's name of it, where names differ.
        outputs: likewise of the outputs. If it names all of the module's, the file may have more.
        method: of a .pte with several.
        providers: of ONNX Runtime, default the CPU's.
        session_options: an `onnxruntime.SessionOptions`.
        precision: what the file computes in, if that is less than the module's: "fp16" or "bf16",
            see `deploy_bias.export.numerics.narrowing`; "int8" or "int4" of a quantised one, see
            `deploy_bias.export.testing.quantized`. It is not taken from the file: a file that is
            less exact by mistake would widen its own budget.
    """

    source: str | Path | Function
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    method: str | None = None
    providers: Sequence[Any] | None = None
    session_options: Any = None
    precision: ProvenPrecision = "fp32"

    @property
    def name(self) -> str:
        """The path as it was given, or the name of the function."""
        if callable(self.source):
            return getattr(self.source, "__name__", type(self.source).__name__)
        return str(self.source)


@dataclass(frozen=True)
class Port:
    """One input or output of a file; what is None is not known.

    dtype: numpy's name of it. What is "bfloat16", which numpy does not have, is taken and given as
    float32 by `File.run`.
    """

    name: str
    dtype: str | None = None
    shape: tuple[int | None, ...] | None = None


@dataclass(frozen=True)
class Value:
    """A value between the inputs and the outputs of a file, or an output.

    operator: what gives it. inputs: the names of the values that it takes.
    """

    name: str
    operator: str
    array: np.ndarray
    inputs: tuple[str, ...]


Values = tuple[list[Value], list[str]]


@dataclass(frozen=True)
class File:
    """What a reader opened.

    Attributes:
        inputs: what it takes, in its order.
        outputs: what it gives; None, if only a run can tell.
        run: takes an array for each input and gives those of the outputs, in order.
        in_order: whether its inputs and outputs stand in the module's order, whatever they are
            called. If not, other names than the module's are certain only where no two inputs (or
            outputs) are alike.
        values: returns every value of a run, in the order in which they are computed, and the
            names of the outputs; None of a file that cannot be looked into.
        unoptimized: as `run`, the same file with the optimisations of its runtime off.
        backend: what our own export of the module is looked into for, where the file cannot be.
        precision: tells what the file's weights are held in, if that is less than float32.
        is_static: tells whether it quantises every value, and not only what its layers are fed.
        narrow: tells which value of a run was past the range that it was calibrated for, if any.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...] | None
    run: Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]
    in_order: bool
    values: Callable[[Sequence[np.ndarray]], Values] | None = None
    unoptimized: Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]] | None = None
    backend: str | None = None
    precision: Callable[[], ProvenPrecision | None] = lambda: None
    is_static: Callable[[], bool] = lambda: False
    narrow: Callable[[Sequence[np.ndarray]], str] = lambda arrays: ""


class Reader(Protocol):
    """What a file of this folder defines."""

    PACKAGE: str
    """The package that must be installed."""

    def open_file(self, artifact: Artifact, graph: ModuleGraph) -> File:
        """Open a file that was made of the module of `graph`.

        Raises:
            OptionError: the artifact does not say what must be said.
        """


def artifacts_of(given: object) -> tuple[Artifact, ...]:
    """Return paths, functions and artifacts as artifacts.

    Raises:
        OptionError: one is nothing that can be read, or there are two of a name.
    """
    if isinstance(given, str | Path | Artifact) or not isinstance(given, Sequence):
        raise OptionError(f"artifacts: expected a list, as ['model.onnx'], got {given!r}.")
    found: list[Artifact] = []
    for one in given:
        artifact = one if isinstance(one, Artifact) else Artifact(one)
        source = artifact.source
        if artifact.precision not in PRECISIONS:
            raise OptionError(
                f"{artifact.name}: precision: expected {', '.join(PRECISIONS)}, got "
                f"{artifact.precision!r}."
            )
        if not callable(source):
            if not isinstance(source, str | Path):
                raise OptionError(
                    f"artifacts: expected a path, a function or an Artifact, got {source!r}."
                )
            if Path(source).suffix not in READERS:
                raise OptionError(
                    f"artifacts: {source} ends in none of {', '.join(READERS)}; for another "
                    "kind give a function of numpy arrays that runs it."
                )
            if not Path(source).exists():
                raise OptionError(f"artifacts: {source}: no such file.")
        if artifact.name in {other.name for other in found}:
            raise OptionError(f"artifacts: {artifact.name} is there twice; name each once.")
        found.append(artifact)
    return tuple(found)


def reader(artifact: Artifact) -> Reader:
    """Return what reads an artifact."""
    if callable(artifact.source):
        name = "deploy_bias.export.testing.artifacts.function"
    else:
        name = READERS[Path(artifact.source).suffix]
    module: Reader = importlib.import_module(name)
    return module
