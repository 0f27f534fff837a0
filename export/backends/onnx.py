"""ONNX by the dynamo exporter, one file a graph."""

from collections import Counter
from collections.abc import Sequence

import torch
from torch.export import Dim

from deploy_bias.contract import DynamicSize, GraphContract, Operators
from deploy_bias.toeplitz import toeplitz_by_repeat
from export.backends import Exported, LabelOf, file_name
from export.graphs import Graph

VERSIONS = ("torch", "onnx", "onnxscript")
DYNAMIC = True
OPSET = 20
LARGEST_FOLDED = 8192
"""Elements of the largest constant that the exporter may compute."""


def export(graphs: Sequence[Graph], label: LabelOf) -> list[Exported]:
    """Export each graph as NAME.onnx, with its label in metadata_props."""
    return [_export_one(graph, label) for graph in graphs]


def _export_one(graph: Graph, label: LabelOf) -> Exported:
    import onnxscript.optimizer

    contract = graph.contract
    program = torch.onnx.export(
        graph.module(toeplitz_by_repeat),
        graph.example_inputs(),
        dynamo=True,
        opset_version=OPSET,
        input_names=[spec.name for spec in contract.inputs],
        output_names=[spec.name for spec in contract.outputs],
        dynamic_shapes=_dynamic_shapes(contract),
        optimize=False,
        verbose=False,
    )
    assert program is not None
    # The matrix must not be folded into the file; ONNX Runtime folds it when it loads. And no
    # rewriting: `optimize` takes the addition of an epsilon of 1e-12 for that of zero.
    onnxscript.optimizer.fold_constants(program.model, output_size_limit=LARGEST_FOLDED)
    onnxscript.optimizer.remove_unused_nodes(program.model)
    model = program.model_proto
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
        path=f"{file_name(contract)}.onnx",
        data=model.SerializeToString(deterministic=True),
        graphs=(graph,),
        operators={
            contract.name: Operators(delegated={}, undelegated=dict(sorted(operators.items())))
        },
    )


def _dynamic_shapes(contract: GraphContract) -> list[dict[int, object]] | None:
    shapes: list[dict[int, object]] = [
        {i: Dim.DYNAMIC for i, size in enumerate(spec.shape) if isinstance(size, DynamicSize)}
        for spec in contract.inputs
    ]
    return shapes if any(shapes) else None
