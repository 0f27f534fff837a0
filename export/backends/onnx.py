"""ONNX by the dynamo exporter, one file a graph."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim

from deploy_bias.bundle.contract import DynamicSize, GraphContract, Precision
from deploy_bias.bundle.manifest import Operators
from deploy_bias.export.backends import Exported, LabelOf, Run, file_name
from deploy_bias.export.backends.onnx_layer_norm import TRANSLATIONS
from deploy_bias.export.graph import ExportGraph
from deploy_bias.export.steps.normalization import with_native_layer_norms
from deploy_bias.model.bias.toeplitz import toeplitz_by_repeat

VERSIONS = ("torch", "onnx", "onnxscript", "onnxruntime")
DYNAMIC = True
OFFLINE = True
PRECISIONS: tuple[Precision, ...] = ("fp32", "int8", "int4", "auto")
STAGE = "ONNX optimised"
OPSET = 20
LARGEST_FOLDED = 8192
"""Elements of the largest constant that the exporter may compute."""
BLOCKS: dict[Precision, tuple[int, int]] = {"int8": (8, 64), "int4": (4, 32), "auto": (8, 64)}
"""Bits of a weight, and the weights that share a scale: where larger blocks gain no time."""


def export(graphs: Sequence[ExportGraph], precision: Precision, label: LabelOf) -> list[Exported]:
    """Export each graph as NAME.onnx, with its label in metadata_props."""
    return [_export_one(graph, precision, label) for graph in graphs]


def stages(graph: ExportGraph) -> Iterator[tuple[str, Run]]:
    """Yield the module, what torch.export makes of it, and the ONNX that nobody optimised."""
    module = _rewritten(graph)
    yield "eager rewrite", module
    program = _program(graph, module)
    yield "ExportedProgram", program.exported_program.module()
    yield "ONNX unoptimised", _as_it_stands(program.model_proto)


def _rewritten(graph: ExportGraph) -> nn.Module:
    return with_native_layer_norms(graph.module(toeplitz_by_repeat))


def _program(graph: ExportGraph, module: nn.Module) -> Any:
    contract = graph.contract
    return torch.onnx.export(
        module,
        graph.example_inputs(),
        dynamo=True,
        opset_version=OPSET,
        input_names=[spec.name for spec in contract.inputs],
        output_names=[spec.name for spec in contract.outputs],
        dynamic_shapes=graph.dynamic_shapes() or _dynamic_shapes(contract),
        custom_translation_table=TRANSLATIONS,
        optimize=False,
        verbose=False,
    )


def _as_it_stands(model: Any) -> Run:
    """Return a model on ONNX Runtime with all its optimisations off."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [node.name for node in session.get_inputs()]

    def run(*tensors: Tensor) -> list[Tensor]:
        arrays = [tensor.numpy() for tensor in tensors]
        return [
            torch.from_numpy(x) for x in session.run(None, dict(zip(names, arrays, strict=True)))
        ]

    return run


def _export_one(graph: ExportGraph, precision: Precision, label: LabelOf) -> Exported:
    import onnxscript.optimizer

    contract = graph.contract
    module = _rewritten(graph)
    program = _program(graph, module)
    # The matrix must not be folded into the file; ONNX Runtime folds it when it loads. And no
    # rewriting: `optimize` takes the addition of an epsilon of 1e-12 for that of zero.
    onnxscript.optimizer.fold_constants(program.model, output_size_limit=LARGEST_FOLDED)
    onnxscript.optimizer.remove_unused_nodes(program.model)
    model = program.model_proto
    layers = {name: m for name, m in module.named_modules() if isinstance(m, nn.Linear)}
    if precision != "fp32" and layers:
        names = graph.float_layers if precision == "auto" else ()
        quantize(model, precision, len(layers), [layers[name].weight for name in names])
    # Stack traces of the exporting machine: they would make two builds differ.
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        del value.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.metadata_props[:]
    entry = model.metadata_props.add()
    entry.key, entry.value = "deploy_bias", label([graph]).model_dump_json()
    operators = Counter(n.op_type for n in model.graph.node if n.op_type != "Constant")
    return Exported(
        path=file_name(contract, precision, ".onnx"),
        data=model.SerializeToString(deterministic=True),
        graphs=(graph,),
        operators={
            contract.name: Operators(delegated={}, undelegated=dict(sorted(operators.items())))
        },
    )


def quantize(model: Any, precision: Precision, layers: int, kept: Sequence[Tensor] = ()) -> None:
    """Put ONNX Runtime's MatMulNBits in the place of every linear layer.

    Not MatMulInteger, which quantises a whole batch by one scale, so that hypotheses change each
    other, and whose 8-bit products saturate on x86-64 without VNNI. At ESPnet's recipe size both
    take 0.82 ms a step and are as exact. An encoder's chunk of 20 frames takes 14.6 ms, and 12.3
    by DynamicQuantizeMatMul; but with weights so small that nothing saturates (7 bits) it is off
    by 2.4 %, and so by 1.4 %.

    Args:
        model: changed in place.
        precision: any but "fp32".
        layers: how many linear layers it holds.
        kept: the weights (outputs, inputs) of those that stay in float32.

    Raises:
        RuntimeError: another number was found, so the exporter writes linear layers in a new way.
    """
    from onnx import helper, numpy_helper
    from onnxruntime.quantization.matmul_nbits_quantizer import (
        DefaultWeightOnlyQuantConfig,
        DefaultWeightOnlyQuantizer,
    )

    bits, block = BLOCKS[precision]
    config = DefaultWeightOnlyQuantConfig(bits=bits, block_size=block, is_symmetric=True)
    quantizer = DefaultWeightOnlyQuantizer(config)
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    found = 0
    for node in model.graph.node:
        matrix = _linear_weight(node, weights)
        if matrix is None:
            continue
        found += 1
        if any(np.array_equal(matrix.T, weight.detach().numpy()) for weight in kept):
            continue
        del weights[node.input[1]]
        packed, scales, _ = quantizer.qbits_block_quant(np.ascontiguousarray(matrix))
        x, name, *bias = node.input
        parts = {f"{name}.packed": packed, f"{name}.scales": scales}
        weights |= parts
        node.CopyFrom(
            helper.make_node(
                "MatMulNBits",
                [x, *parts, *(["", "", *bias] if bias else [])],
                list(node.output),
                name=node.name,
                domain="com.microsoft",
                K=matrix.shape[0],
                N=matrix.shape[1],
                bits=bits,
                block_size=block,
                accuracy_level=4,  # the input is quantised too
            )
        )
    if found != layers:
        raise RuntimeError(f"quantised {found} linear layers of {layers}.")
    del model.graph.initializer[:]
    model.graph.initializer.extend(
        numpy_helper.from_array(array, name) for name, array in weights.items()
    )
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def _linear_weight(node: Any, weights: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Return the weight (inputs, outputs) if a node is a linear layer, of a matrix or of more.

    One output is the mean of a normalisation, see `deploy_bias.export.steps.normalization`.
    """
    weight = weights.get(node.input[1]) if node.op_type in ("Gemm", "MatMul") else None
    if weight is None or weight.ndim != 2:
        return None
    matrix = weight.T if node.op_type == "Gemm" else weight
    return None if matrix.shape[1] == 1 else matrix


def _dynamic_shapes(contract: GraphContract) -> list[dict[int, object]] | None:
    shapes: list[dict[int, object]] = [
        {i: Dim.DYNAMIC for i, size in enumerate(spec.shape) if isinstance(size, DynamicSize)}
        for spec in contract.inputs
    ]
    return shapes if any(shapes) else None
