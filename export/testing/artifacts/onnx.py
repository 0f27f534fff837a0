"""ONNX, on ONNX Runtime: any opset, with the data that stands in files beside it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deploy_bias.errors import OptionError
from deploy_bias.export.testing.artifacts import Artifact, File, Port
from deploy_bias.export.testing.module_graph import ModuleGraph

PACKAGE = "onnxruntime"
PROVIDERS = ("CPUExecutionProvider",)
DTYPES = {"float": "float32", "double": "float64"}
"""numpy's names of ONNX Runtime's dtypes, where they differ."""


def open_file(artifact: Artifact, graph: ModuleGraph) -> File:
    """Open a session on the providers and with the options of the artifact."""
    import onnxruntime

    assert not callable(artifact.source)
    options = artifact.session_options
    if options is None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
    wanted = list(artifact.providers or PROVIDERS)
    known = onnxruntime.get_available_providers()
    for provider in wanted:
        name = provider if isinstance(provider, str) else provider[0]
        if name not in known:
            raise OptionError(
                f"{artifact.name}: this ONNX Runtime has no {name}, only {', '.join(known)}; "
                "install the build that has it, or take another of providers=."
            )
    session = onnxruntime.InferenceSession(str(Path(artifact.source)), options, providers=wanted)
    inputs, outputs = _ports(session.get_inputs()), _ports(session.get_outputs())
    names = [port.name for port in inputs]

    def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        found: list[np.ndarray] = session.run(None, dict(zip(names, arrays, strict=True)))
        return found

    # torch's exporters keep the order of the module's arguments and results.
    in_order = session.get_modelmeta().producer_name == "pytorch"
    return File(inputs, outputs, run, in_order)


def _ports(nodes: Sequence[Any]) -> tuple[Port, ...]:
    ports = []
    for node in nodes:
        dtype = node.type.removeprefix("tensor(").removesuffix(")")
        shape = tuple(size if isinstance(size, int) else None for size in node.shape)
        ports.append(Port(node.name, DTYPES.get(dtype, dtype), shape))
    return tuple(ports)
