"""ONNX, on ONNX Runtime: any opset, with the data that stands in files beside it."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from deploy_bias.errors import OptionError
from deploy_bias.export.testing.artifacts import Artifact, File, Port, Value, Values
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

    @cache
    def plain() -> Any:
        level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        return _session(artifact, Path(str(artifact.source)).read_bytes(), level)

    def unoptimized(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        found: list[np.ndarray] = plain().run(None, dict(zip(names, arrays, strict=True)))
        return found

    # torch's exporters keep the order of the module's arguments and results.
    in_order = session.get_modelmeta().producer_name == "pytorch"

    def values(arrays: Sequence[np.ndarray]) -> Values:
        found = _values(artifact, dict(zip(names, arrays, strict=True)))
        return found, [port.name for port in outputs]

    return File(inputs, outputs, run, in_order, values, unoptimized)


def _values(artifact: Artifact, fed: Mapping[str, np.ndarray]) -> list[Value]:
    """Run the model with every value among its outputs."""
    import onnx
    import onnxruntime

    model = onnx.load(str(artifact.source), load_external_data=False)
    nodes = list(model.graph.node)
    asked = {value.name for value in model.graph.output}
    names = [name for node in nodes for name in node.output if name]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in asked)
    level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    if artifact.session_options is not None:
        level = artifact.session_options.graph_optimization_level
    session = _session(artifact, model.SerializeToString(), level)
    found = dict(zip(names, session.run(names, fed), strict=True))
    return [
        Value(name, f"{node.op_type} {node.name}".strip(), found[name], tuple(node.input))
        for node in nodes
        for name in node.output
        if isinstance(found.get(name), np.ndarray)
    ]


def _session(artifact: Artifact, content: bytes, level: Any) -> Any:
    """Open a model in the place of a file. The options are new: those that were given may write."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    # What the file names lies beside it.
    beside = str(Path(str(artifact.source)).resolve().parent)
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", beside)
    providers = list(artifact.providers or PROVIDERS)
    return onnxruntime.InferenceSession(content, options, providers=providers)


def _ports(nodes: Sequence[Any]) -> tuple[Port, ...]:
    ports = []
    for node in nodes:
        dtype = node.type.removeprefix("tensor(").removesuffix(")")
        shape = tuple(size if isinstance(size, int) else None for size in node.shape)
        ports.append(Port(node.name, DTYPES.get(dtype, dtype), shape))
    return tuple(ports)
