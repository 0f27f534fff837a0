"""A step on the runtimes: each function returns what is called as the step is."""

import collections

import numpy as np
import torch
from torch.utils._pytree import tree_leaves


def exported(step):
    """On torch, as torch.export has it."""
    return torch.export.export(step, step.example_inputs()).module()


def on_torchscript(step):
    return torch.jit.freeze(torch.jit.trace(step, step.example_inputs()))


def on_onnx_runtime(step, folder):
    import onnxruntime

    path = folder / "step.onnx"
    program = torch.onnx.export(step, step.example_inputs(), dynamo=True, verbose=False)
    program.save(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]

    def run(*inputs):
        arrays = [np.ascontiguousarray(tensor) for tensor in tree_leaves(inputs)]
        outputs = session.run(None, dict(zip(names, arrays, strict=True)))
        return [torch.from_numpy(array) for array in outputs]

    return run


def on_executorch(lowered, folder):
    """On ExecuTorch's runtime; `lowered` is a step after `lower`."""
    from executorch.runtime import Runtime

    path = folder / "step.pte"
    path.write_bytes(lowered.to_executorch().buffer)
    method = Runtime.get().load_program(path).load_method("forward")

    def run(*inputs):
        return method.execute([tensor.contiguous() for tensor in tree_leaves(inputs)])

    return run


def lower(step):
    """Delegate a step to XNNPACK."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    program = torch.export.export(step, step.example_inputs())
    return to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])


def operators(lowered):
    """Count the operators of the top graph: what is in a delegate is not seen here."""
    calls = collections.Counter()
    for node in lowered.exported_program().graph.nodes:
        if node.op == "call_function" and "getitem" not in node.name:
            calls[node.target.name()] += 1
    return dict(calls)
