"""ExecuTorch, on the runtime of its Python package. A .pte has no names: its order is the
module's."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from deploy_bias.errors import OptionError
from deploy_bias.export.testing.artifacts import Artifact, File, Port
from deploy_bias.export.testing.flat import outside
from deploy_bias.export.testing.module_graph import ModuleGraph
from deploy_bias.runtime.backends.executorch import load_method

PACKAGE = "executorch"
DTYPES = (
    *("uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"),
    *("complex32", "complex64", "complex128", "bool", "qint8", "quint8", "qint32", "bfloat16"),
)
"""By the number of ExecuTorch's scalar type."""


def open_file(artifact: Artifact, graph: ModuleGraph) -> File:
    """Load one method of a program: the one it has, forward, or the one that is asked for."""
    import torch
    from executorch.runtime import Runtime

    program = Runtime.get().load_program(str(artifact.source))
    name = _method(artifact, sorted(program.method_names))
    method = load_method(program, name)
    meta = program.metadata(name)
    inputs = _ports([meta.input_tensor_meta(i) for i in range(meta.num_inputs())])

    def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        tensors = [
            tensor.bfloat16() if port.dtype == "bfloat16" else tensor
            for tensor, port in zip(map(torch.from_numpy, arrays), inputs, strict=True)
        ]
        return [_array(output) for output in method.execute(tensors)]

    return File(
        inputs,
        _ports([meta.output_tensor_meta(i) for i in range(meta.num_outputs())]),
        run,
        in_order=True,
        # A delegate shows nothing within; our own lowering of the module stands for it.
        backend="executorch",
    )


def _array(output: Any) -> np.ndarray:
    # A copy: its outputs are the method's own memory, which the next run writes.
    array: np.ndarray = (
        outside(output).numpy().copy() if hasattr(output, "numpy") else np.array(output)
    )
    return array


def _method(artifact: Artifact, names: Sequence[str]) -> str:
    wanted = artifact.method or (names[0] if len(names) == 1 else "forward")
    if wanted not in names:
        raise OptionError(
            f"{artifact.name} has the methods {', '.join(names)}; say which is the module's, as "
            f"Artifact({artifact.name!r}, method={names[0]!r})."
        )
    return wanted


def _ports(metas: Sequence[Any]) -> tuple[Port, ...]:
    # The sizes are those at the most: of a dynamic one the file does not tell.
    return tuple(
        Port(
            str(number),
            DTYPES[meta.dtype()] if meta.dtype() < len(DTYPES) else None,
            (None,) * len(meta.sizes()),
        )
        for number, meta in enumerate(metas)
    )
