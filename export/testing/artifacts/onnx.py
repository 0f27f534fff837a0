"""ONNX, on ONNX Runtime: any opset, with the data that stands in files beside it."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from deploy_bias.errors import OptionError
from deploy_bias.export.parity.results import ProvenPrecision
from deploy_bias.export.testing.artifacts import Artifact, File, Port, Value, Values
from deploy_bias.export.testing.artifacts.onnx_ranges import narrow_range
from deploy_bias.export.testing.flat import outside
from deploy_bias.export.testing.module_graph import ModuleGraph
from deploy_bias.runtime.backends.onnx import FATAL

PACKAGE = "onnxruntime"
PROVIDERS = ("CPUExecutionProvider",)
DTYPES = {"float": "float32", "double": "float64"}
"""numpy's names of ONNX Runtime's dtypes, where they differ."""
QUANTIZED = ("QLinear", "QuantizeLinear", "DequantizeLinear", "DynamicQuantize", "MatMulInteger")
"""How the operators begin that quantised files have."""


def open_file(artifact: Artifact, graph: ModuleGraph) -> File:
    """Open a session on the providers and with the options of the artifact."""
    import onnxruntime

    assert not callable(artifact.source)
    options = artifact.session_options
    if options is None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = FATAL
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
        return _run(session, dict(zip(names, arrays, strict=True)))

    @cache
    def plain() -> Any:
        level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        return _session(artifact, Path(str(artifact.source)).read_bytes(), level)

    def unoptimized(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        return _run(plain(), dict(zip(names, arrays, strict=True)))

    # torch's exporters keep the order of the module's arguments and results.
    in_order = session.get_modelmeta().producer_name == "pytorch"

    def values(arrays: Sequence[np.ndarray]) -> Values:
        found = _values(artifact, dict(zip(names, arrays, strict=True)))
        return found, [port.name for port in outputs]

    def precision() -> ProvenPrecision | None:
        return _precision(str(artifact.source))

    def narrow(arrays: Sequence[np.ndarray]) -> str:
        return narrow_range(
            str(artifact.source), dict(zip(names, arrays, strict=True)), values(arrays)
        )

    return File(
        inputs,
        outputs,
        run,
        in_order,
        values,
        unoptimized,
        precision=precision,
        is_static=lambda: _is_static(str(artifact.source)),
        narrow=narrow,
    )


def _run(
    session: Any, fed: Mapping[str, np.ndarray], names: Sequence[str] | None = None
) -> list[np.ndarray]:
    """Run a session; bfloat16, which numpy does not have, is float32 outside of it."""
    import onnx
    import onnxruntime
    import torch

    brain = {port.name for port in _ports(session.get_inputs()) if port.dtype == "bfloat16"}
    if not brain and all(port.dtype != "bfloat16" for port in _ports(session.get_outputs())):
        found: list[np.ndarray] = session.run(names, fed)
        return found
    make = onnxruntime.OrtValue
    values = {
        name: make.ortvalue_from_numpy_with_onnx_type(
            torch.from_numpy(array).bfloat16().view(torch.int16).numpy(), onnx.TensorProto.BFLOAT16
        )
        if name in brain
        else make.ortvalue_from_numpy(array)
        for name, array in fed.items()
    }
    given = session.run_with_ort_values(names, values)
    return [outside(torch.from_dlpack(value)).numpy().copy() for value in given]


def _is_static(path: str) -> bool:
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    return any(node.op_type == "QuantizeLinear" for node in graph.node)


def _precision(path: str) -> ProvenPrecision | None:
    """Return the least precision that anything in a model is held in."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    dtypes = {tensor.data_type for tensor in graph.initializer}
    if any(node.op_type.startswith(QUANTIZED) for node in graph.node):
        return "int8"
    if onnx.TensorProto.FLOAT16 in dtypes:
        return "fp16"
    return "bf16" if onnx.TensorProto.BFLOAT16 in dtypes else None


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
    found = dict(zip(names, _run(session, fed, names), strict=True))
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
    options.log_severity_level = FATAL
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
