"""The step on every backend: the same stream of chunks, and the same as eager."""

import collections

import numpy as np
import onnxscript.optimizer
import pytest
import torch
from torch.utils._pytree import tree_leaves

from deploy_bias.export.backends.executorch import lower
from deploy_bias.export.steps.encoder import EncoderStep
from tests.espnet.encoders import (
    CAUSAL,
    INPUTS,
    SMALL,
    digits,
    espnet_stream,
    pair,
    random_chunks,
    stream,
)

# Outside the delegate there is nothing but the masks, made of a few integers at the start.
MASKS = {
    "executorch_call_delegate",
    "aten::add.Tensor",
    "aten::arange.start_step",
    "aten::cat",
    "aten::le.Tensor",
    "aten::logical_not",
    "aten::mul.Tensor",
    "aten::unsqueeze_copy",
    "dim_order_ops::_to_dim_order_copy",
}


def make_ebranchformer():
    # XNNPACK's depthwise kernels end at 25 frames.
    kernels = {"conv_mod_kernel_size": 31, "depth_conv_kernel_size": 4}
    body = [{"block_type": "ebranchformer", **SMALL, **kernels}]
    ours, theirs = pair(body, INPUTS[3], CAUSAL)
    return EncoderStep(ours, 54, 7), theirs, random_chunks((42, 50, 51, 54, 29))


def make_not_causal():
    main = {"simplified_att_score": True, "norm_type": "rms_norm", "conv_mod_norm_type": "rms_norm"}
    ours, theirs = pair("branchformer", main_conf=main)
    return EncoderStep(ours, 54, 7), theirs, random_chunks((42, 50, 51, 54, 29))


def make_conv1d():
    ours, theirs = pair("conv1d", main_conf={**CAUSAL, "norm_type": "basic_norm"})
    return EncoderStep(ours, 54, 0), theirs, random_chunks((42, 50, 51, 54, 29))


def make_digits():
    ours, theirs = digits()
    return EncoderStep(ours, 175, 32), theirs, random_chunks((157, 169, 171, 169, 60), 40)


@pytest.fixture(
    scope="module",
    params=[make_ebranchformer, make_not_causal, make_conv1d, make_digits],
    ids=["ebranchformer", "branchformer, not causal", "conv1d, no left context", "digits"],
)
def case(request):
    """A step, its chunks, what ESPnet makes of them."""
    step, theirs, chunks = request.param()
    return step, chunks, espnet_stream(theirs, chunks, step.left_context)


def nested(step, flat):
    """Give the tensors of a runtime as the step does: the frames, and the new rows."""
    out, *rows = flat
    assert len(rows) == len(step.window_shapes)
    return out, rows


def check(case, run):
    step, chunks, expected = case
    out = stream(step, chunks, run=run)
    torch.testing.assert_close(out, expected, atol=1e-4, rtol=0.0)
    torch.testing.assert_close(out, stream(step, chunks), atol=2e-5, rtol=1e-5)


def test_torch_export(case):
    check(case, torch.export.export(case[0], case[0].example_inputs()).module())


def test_torchscript(case):
    check(case, torch.jit.freeze(torch.jit.trace(case[0], case[0].example_inputs())))


def test_onnx_runtime(case):
    import onnxruntime

    step = case[0]
    inputs = step.example_inputs()
    program = torch.onnx.export(step, inputs, dynamo=True, optimize=False, verbose=False)
    onnxscript.optimizer.fold_constants(program.model)
    onnxscript.optimizer.remove_unused_nodes(program.model)
    session = onnxruntime.InferenceSession(
        program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [given.name for given in session.get_inputs()]

    def run(*given):
        arrays = [np.ascontiguousarray(tensor) for tensor in tree_leaves(given)]
        outputs = session.run(None, dict(zip(names, arrays, strict=True)))
        return nested(step, [torch.from_numpy(array) for array in outputs])

    check(case, run)


def test_executorch_xnnpack(case):
    from executorch.runtime import Runtime

    step = case[0]
    lowered = lower({"forward": torch.export.export(step, step.example_inputs())}, {}, {})
    outside = collections.Counter(
        node.target.name()
        for node in lowered.exported_program().graph.nodes
        if node.op == "call_function" and "getitem" not in node.name
    )
    assert set(outside) <= MASKS
    assert outside["executorch_call_delegate"] <= 2
    assert outside["aten::cat"] == 1
    data = lowered.to_executorch().buffer
    program = Runtime.get().load_program(data)
    method = program.load_method("forward")

    def run(*given):
        return nested(step, method.execute([tensor.contiguous() for tensor in tree_leaves(given)]))

    check(case, run)
