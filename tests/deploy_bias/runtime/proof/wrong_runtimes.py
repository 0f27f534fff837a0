"""Runtimes that are wrong in one way: a kernel in the ONNX file, or what a session gives."""

from collections.abc import Callable

import numpy as np
import onnx
from onnx import helper, numpy_helper

from deploy_bias.runtime.backends import onnx as backend


def node(model: onnx.ModelProto, kind: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.op_type == kind)


def replace(model: onnx.ModelProto, old: onnx.NodeProto, *new: onnx.NodeProto) -> None:
    at = list(model.graph.node).index(old)
    model.graph.node.remove(old)
    for offset, one in enumerate(new):
        model.graph.node.insert(at + offset, one)


def set_initializer(model, name, change) -> None:
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor)), name))


def rational_tanh(model):
    """As fast math has it: x (27 + x²) / (27 + 9 x²), which grows past 1."""
    old = node(model, "Tanh")
    (x,), (y,) = old.input, old.output
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(np.array(27, np.float32), "c27"),
            numpy_helper.from_array(np.array(9, np.float32), "c9"),
        ]
    )
    make = helper.make_node
    replace(
        model,
        old,
        make("Mul", [x, x], ["sq"]),
        make("Add", ["sq", "c27"], ["top"]),
        make("Mul", [x, "top"], ["num"]),
        make("Mul", ["sq", "c9"], ["sq9"]),
        make("Add", ["sq9", "c27"], ["den"]),
        make("Div", ["num", "den"], [y]),
    )


def hard_sigmoid(model):
    old = node(model, "Sigmoid")
    replace(model, old, helper.make_node("HardSigmoid", old.input, old.output))


def loose_epsilon(model):
    attribute = next(a for a in node(model, "InstanceNormalization").attribute)
    attribute.f = 1e-3


def softmax_of_another_axis(model):
    attribute = next(a for a in node(model, "Softmax").attribute if a.name == "axis")
    attribute.i = 1


def empty_convolution(model):
    set_initializer(model, node(model, "Conv").input[1], np.zeros_like)


def dropped_bias(model):
    set_initializer(model, node(model, "Gemm").input[2], np.zeros_like)


def saturated_weights(model):
    """What 16-bit sums of products of 8 bits lose on processors without VNNI."""
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype in (np.int8, np.uint8) and array.size > 1000:
            middle = 128 if array.dtype == np.uint8 else 0
            low, high = np.percentile(array, [10, 90])
            clipped = np.clip(array, min(low, middle), max(high, middle)).astype(array.dtype)
            tensor.CopyFrom(numpy_helper.from_array(clipped, tensor.name))


class Wrong:
    """A session whose outputs are changed."""

    def __init__(self, session, change) -> None:
        self._session, self._change = session, change
        self.label = session.label

    def run(self, graph, inputs):
        return self._change(graph, self._session.run(graph, inputs))


def zeros(graph, outputs):
    return [np.zeros_like(output) for output in outputs] if graph == "encoder" else outputs


def transposed_state(graph, outputs):
    """The first replaced state of the decoder, its rows for its columns."""
    if graph == "decoder":
        state = outputs[1]
        outputs[1] = np.ascontiguousarray(state.swapaxes(-1, -2)).reshape(state.shape)
    return outputs


def half(graph, outputs):
    """Float16 where the contract says float32."""
    return [output.astype(np.float16).astype(output.dtype) for output in outputs]


def not_a_number(graph, outputs):
    if graph == "joint":
        outputs[0][..., -1] = np.nan
    return outputs


def one_row_late(graph, outputs):
    if graph == "encoder":
        outputs[0] = np.roll(outputs[0], 1, axis=1)
    return outputs


class Racing:
    """Another thread writes into what was given before, now and then."""

    def __init__(self) -> None:
        self.count, self.last = 0, None

    def __call__(self, graph, outputs):
        if graph != "decoder":
            return outputs
        self.count += 1
        stale, self.last = self.last, [output.copy() for output in outputs]
        return stale if self.count % 29 == 0 and stale is not None else outputs


def in_file(suffix: str, change: Callable[[onnx.ModelProto], None]) -> Callable:
    """Return an `open_session` that changes the file of one graph."""

    def open_session(data, providers=()):
        model = onnx.load_from_string(data)
        label = next(p.value for p in model.metadata_props if p.key == "deploy_bias")
        if f'"kind":"{suffix}"' in label:
            change(model)
        return ORIGINAL(model.SerializeToString(), providers)

    return open_session


def in_session(change: Callable) -> Callable:
    """Return an `open_session` whose sessions change what they give."""

    def open_session(data, providers=()):
        model = onnx.load_from_string(data)
        label = next(p.value for p in model.metadata_props if p.key == "deploy_bias")
        kind = label.split('"kind":"')[1].split('"')[0]
        return Wrong(ORIGINAL(data, providers), lambda _, outputs: change(kind, outputs))

    return open_session


ORIGINAL = backend.open_session

WRONG = {
    "a tanh of fast math": (in_file("joint", rational_tanh), "joint"),
    "a hard sigmoid": (in_file("encoder", hard_sigmoid), "encoder"),
    "a hard sigmoid of the decoder": (in_file("decoder", hard_sigmoid), "decoder"),
    "an epsilon of a norm": (in_file("decoder", loose_epsilon), "decoder"),
    "a softmax of another axis": (in_file("encoder", softmax_of_another_axis), "encoder"),
    "an empty convolution": (in_file("encoder", empty_convolution), "encoder"),
    "a dropped bias": (in_file("joint", dropped_bias), "joint"),
    "zeros": (in_session(zeros), "encoder"),
    "a transposed state": (in_session(transposed_state), "decoder"),
    "float16": (in_session(half), "joint"),
    "NaN": (in_session(not_a_number), "joint"),
    "a row too late": (in_session(one_row_late), "encoder"),
    "a thread that races": (in_session(Racing()), "decoder"),
}
"""By name: an `open_session`, and the graph that is wrong."""
