"""OpenVINO's intermediate representation: an .xml, with the .bin beside it, on the CPU."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from deploy_bias.export.testing.artifacts import Artifact, File, Port, Value, Values
from deploy_bias.export.testing.module_graph import ModuleGraph

PACKAGE = "openvino"


def open_file(artifact: Artifact, graph: ModuleGraph) -> File:
    """Compile the model. Some processors would take bfloat16 for float32: not here."""
    import openvino

    assert not callable(artifact.source)
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.Core().compile_model(str(artifact.source), "CPU", options)

    names = [port.name for port in _ports(model.outputs)]

    def values(arrays: Sequence[np.ndarray]) -> Values:
        return _watch(str(artifact.source), arrays), names

    def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        # A copy: its outputs are its own memory, which the next run writes.
        return [np.array(array) for array in model(list(arrays)).values()]

    def is_static() -> bool:
        operators = openvino.Core().read_model(str(artifact.source)).get_ops()
        return any(one.get_type_name() == "FakeQuantize" for one in operators)

    inputs, outputs = _ports(model.inputs), _ports(model.outputs)
    return File(inputs, outputs, run, in_order=False, values=values, is_static=is_static)


def _watch(path: str, arrays: Sequence[np.ndarray]) -> list[Value]:
    """Run the model with every value among its outputs."""
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    kept = ("Parameter", "Result", "Constant")
    ports = [
        port
        for op in model.get_ordered_ops()
        if op.get_type_name() not in kept
        for port in op.outputs()
    ]
    known = {one.get_node().input_value(0) for one in model.outputs}
    model.add_outputs([port for port in ports if port not in known])
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    given = [np.array(array) for array in compiled(list(arrays)).values()]
    order = [one.get_node().input_value(0) for one in model.outputs]
    found = {_name(port): array for port, array in zip(order, given, strict=True)}
    return [
        Value(
            _name(port),
            port.get_node().get_type_name(),
            found[_name(port)],
            tuple(_name(one) for one in port.get_node().input_values()),
        )
        for port in ports
        if _name(port) in found
    ]


def _name(port: Any) -> str:
    """Return the name that its file gives an output, or that of what makes it."""
    names = sorted(port.get_names())
    return names[0] if names else f"{port.get_node().get_friendly_name()}.{port.get_index()}"


def _ports(nodes: Sequence[Any]) -> tuple[Port, ...]:
    ports = []
    for number, node in enumerate(nodes):
        names = sorted(node.get_names())
        shape = tuple(
            None if size.is_dynamic else size.get_length() for size in node.get_partial_shape()
        )
        dtype = np.dtype(node.get_element_type().to_dtype()).name
        ports.append(Port(names[0] if names else str(number), dtype, shape))
    return tuple(ports)
