"""OpenVINO's intermediate representation: an .xml, with the .bin beside it, on the CPU."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from deploy_bias.export.testing.artifacts import Artifact, File, Port
from deploy_bias.export.testing.module_graph import ModuleGraph

PACKAGE = "openvino"


def open_file(artifact: Artifact, graph: ModuleGraph) -> File:
    """Compile the model. Some processors would take bfloat16 for float32: not here."""
    import openvino

    assert not callable(artifact.source)
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.Core().compile_model(str(artifact.source), "CPU", options)

    def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        # A copy: its outputs are its own memory, which the next run writes.
        return [np.array(array) for array in model(list(arrays)).values()]

    return File(_ports(model.inputs), _ports(model.outputs), run, in_order=False)


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
