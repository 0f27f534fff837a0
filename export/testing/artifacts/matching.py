"""Which input and output of a file is which of the module's."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from deploy_bias.bundle.contract import TensorSpec
from deploy_bias.errors import OptionError
from deploy_bias.export.parity.proof import Stage
from deploy_bias.export.parity.results import WrongOperator
from deploy_bias.export.testing.artifacts import Artifact, File, Port
from deploy_bias.export.testing.module_graph import ModuleGraph

if TYPE_CHECKING:
    from deploy_bias.export.testing.attribution import Attribution


class DifferentInterface(Exception):
    """The inputs or outputs of a file are not the module's, whatever its numbers are."""


class FileSession:
    """A file that is called in the order of the module's contract.

    Args:
        artifact: what was given.
        file: what was opened of it.
        graph: of the module.

    Raises:
        DifferentInterface: their number, dtypes or shapes differ from the module's.
        OptionError: it is not certain which is which.
    """

    def __init__(self, artifact: Artifact, file: File, graph: ModuleGraph) -> None:
        self.label: str | None = None
        self._file = file
        self._names = [spec.name for spec in graph.contract.outputs]
        self._grain = graph.grain
        contract = graph.contract
        taken_by = _like_the_module(file.inputs, graph)
        self._inputs = _matched(
            "input", artifact, artifact.inputs, contract.inputs, taken_by, file.in_order
        )
        taken = [index for index in self._inputs if index is not None]
        if len(taken) < len(file.inputs):
            left = [port.name for i, port in enumerate(file.inputs) if i not in taken]
            raise DifferentInterface(
                f"it takes {', '.join(left)} besides, which the module does not: its inputs are "
                f"{_names(contract.inputs)}"
            )
        example = [tensor.numpy() for tensor in graph.example_inputs()]
        if file.outputs is None:
            arrays = self._run(example)
            ports = tuple(
                Port(spec.name, array.dtype.name, array.shape)
                for spec, array in zip(contract.outputs, arrays, strict=False)
            )
            _check_number(contract.outputs, len(arrays))
        else:
            ports = file.outputs
            if len(artifact.outputs) < len(contract.outputs):
                _check_number(contract.outputs, len(ports))
        maps: Mapping[str, str] = {} if file.outputs is None else artifact.outputs
        given = _like_the_module(ports, graph)
        outputs = _matched("output", artifact, maps, contract.outputs, given, file.in_order)
        self._outputs = [_index(index) for index in outputs]
        with torch.no_grad():
            expected = graph.eager(torch.float32)(graph.example)
        for array, spec in zip(self.run("", example), contract.outputs, strict=True):
            like = expected[spec.name].numpy()
            if (array.dtype, array.shape) != (like.dtype, like.shape):
                raise DifferentInterface(
                    f"its {spec.name} is {array.dtype} {array.shape} on the example, and the "
                    f"module's {like.dtype} {like.shape}"
                )

    def run(self, graph: str, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run the file on inputs in the order of the contract."""
        return self._given(self._run(inputs))

    def stages(self) -> Iterator[Stage]:
        """Yield the file with its runtime's optimisations off, if that is another."""
        plain = self._file.unoptimized
        if plain is None:
            return

        def run(*tensors: Tensor) -> list[Tensor]:
            found = plain(self._fed([tensor.numpy() for tensor in tensors]))
            return [torch.from_numpy(array) for array in self._given(found)]

        yield "the file unoptimised", run

    def narrow(self, inputs: Sequence[np.ndarray]) -> str:
        """Return what of a run is past the range that it was calibrated for, in words."""
        return self._file.narrow(self._fed(inputs))

    def wrong_operator(self, found: "Attribution", output: str) -> WrongOperator | None:
        """Return the first wrong operator of an output, if the file can be looked into."""
        if self._file.values is None:
            if self._grain is not None:
                return None  # our own exports are none of half precision
            return None if self._file.backend is None else found.on(self._file.backend)
        arrays = [tensor.numpy() for tensor in found.operators.inputs]
        values, outputs = self._file.values(self._fed(arrays))
        return found.in_file(values, outputs[self._outputs[self._names.index(output)]])

    def _run(self, inputs: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        return self._file.run(self._fed(inputs))

    def _fed(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the inputs in the order of the file."""
        fed = {i: array for i, array in zip(self._inputs, inputs, strict=True) if i is not None}
        return [
            fed[index].astype(np.float16)
            if self._grain is not None and port.dtype == "float16"
            else fed[index]
            for index, port in enumerate(self._file.inputs)
        ]

    def _given(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the outputs in the order of the contract, float32 where the file has halves."""
        found = [arrays[index] for index in self._outputs]
        return [wide(array) for array in found] if self._grain is not None else found


def wide(array: np.ndarray) -> np.ndarray:
    """Return halves as float32, and anything else as it is."""
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _like_the_module(ports: Sequence[Port], graph: ModuleGraph) -> list[Port]:
    """Return ports as if of float32, where half precision is what is meant."""
    meant = set() if graph.grain is None else {str(graph.grain).removeprefix("torch.")}
    if torch.bfloat16 in graph.dtypes:
        meant.add("bfloat16")  # at the door of its graph it is float32
    return [replace(port, dtype="float32") if port.dtype in meant else port for port in ports]


def _index(index: int | None) -> int:
    assert index is not None
    return index


def _check_number(specs: Sequence[TensorSpec], number: int) -> None:
    if number != len(specs):
        raise DifferentInterface(
            f"it gives {number} output{'' if number == 1 else 's'}, and the module "
            f"{len(specs)}: {_names(specs)}"
        )


def _matched(
    kind: str,
    artifact: Artifact,
    names: Mapping[str, str],
    specs: Sequence[TensorSpec],
    ports: Sequence[Port],
    in_order: bool,
) -> list[int | None]:
    """Return the index of the port of each spec; None of an input that the file does not take.

    First what the user says, then equal names, then the order if it is the module's, then what no
    two have alike.
    """
    index = {port.name: number for number, port in enumerate(ports)}
    _check_names(kind, artifact, names, specs, index)
    found = {spec.name: index[names[spec.name]] for spec in specs if spec.name in names}
    for spec in specs:
        if spec.name not in found and index.get(spec.name, -1) not in (-1, *found.values()):
            found[spec.name] = index[spec.name]
    left = [spec for spec in specs if spec.name not in found]
    free = [number for number in range(len(ports)) if number not in found.values()]
    if left and in_order and len(specs) == len(ports) and not found:
        found = {spec.name: number for number, spec in enumerate(specs)}
    elif left and free:
        fits = {s.name: [i for i in free if _problem(s, ports[i]) is None] for s in left}
        if len(left) == len(free) == 1:
            fits = {left[0].name: free}
        if none := [name for name, fit in fits.items() if not fit]:
            raise DifferentInterface(
                f"none of its {kind}s {', '.join(_show(ports[i]) for i in free)} is like the "
                f"module's {_names([s for s in left if s.name in none])}"
            )
        chosen = [fit[0] for fit in fits.values()]
        if any(len(fit) > 1 for fit in fits.values()) or len(set(chosen)) < len(chosen):
            suggestion = {s.name: ports[i].name for s, i in zip(left, free, strict=False)}
            raise OptionError(
                f"{artifact.name}: which {kind} is which is not certain: the file has "
                f"{', '.join(_show(ports[i]) for i in free)} for the module's {_names(left)}. Say "
                f"it by the module's names, as Artifact({artifact.name!r}, "
                f"{kind}s={suggestion!r})."
            )
        found |= dict(zip(fits, chosen, strict=True))
    for spec in specs:
        if spec.name in found and (problem := _problem(spec, ports[found[spec.name]])):
            raise DifferentInterface(f"its {kind} {problem}")
    if kind == "output" and len(found) < len(specs):
        missing = [spec for spec in specs if spec.name not in found]
        raise DifferentInterface(f"it does not give {_names(missing)}")
    return [found.get(spec.name) for spec in specs]


def _check_names(
    kind: str,
    artifact: Artifact,
    names: Mapping[str, str],
    specs: Sequence[TensorSpec],
    index: Mapping[str, int],
) -> None:
    for own, theirs in names.items():
        if own not in {spec.name for spec in specs}:
            raise OptionError(
                f"{artifact.name}: {kind}s={{{own!r}: ...}}: the module has no {kind} {own!r}, "
                f"only {', '.join(spec.name for spec in specs)}."
            )
        if theirs not in index:
            raise OptionError(
                f"{artifact.name}: {kind}s={{{own!r}: {theirs!r}}}: the file has no {kind} "
                f"{theirs!r}, only {', '.join(index)}."
            )
    if len(set(names.values())) < len(names):
        raise OptionError(f"{artifact.name}: {kind}s= names one of the file's twice.")


def _problem(spec: TensorSpec, port: Port) -> str | None:
    """Return how a port differs from what the module has, if it does."""
    dtype = port.dtype is None or port.dtype == spec.dtype
    shape = port.shape is None or (
        len(port.shape) == len(spec.shape)
        and all(
            size is None or size == wanted
            for size, wanted in zip(port.shape, spec.shape, strict=True)
        )
    )
    if dtype and shape:
        return None
    problem = f"{_show(port)} differs from the module's {_names([spec])}"
    half = {"float16": "fp16", "bfloat16": "bf16"}.get(port.dtype or "")
    if shape and half and spec.dtype == "float32":
        problem += f"; if half precision is meant, say so, with precision={half!r}"
    return problem


def _show(port: Port) -> str:
    shape = "any shape"
    if port.shape is not None:
        shape = f"({', '.join('?' if size is None else str(size) for size in port.shape)})"
    return f"{port.name} ({port.dtype or 'any dtype'}, {shape})"


def _names(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(
        f"{spec.name} ({spec.dtype}, ({', '.join(map(_size, spec.shape))}))" for spec in specs
    )


def _size(size: object) -> str:
    return str(size) if isinstance(size, int) else str(getattr(size, "name", size))
