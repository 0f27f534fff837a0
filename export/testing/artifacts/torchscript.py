"""TorchScript, traced or scripted."""

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from deploy_bias.export.testing.artifacts import Artifact, File, Value, Values
from deploy_bias.export.testing.artifacts.torch_module import as_array, file_of
from deploy_bias.export.testing.module_graph import ModuleGraph

PACKAGE = "torch"
WRAPPED = ("prim::TupleConstruct", "prim::ListConstruct", "prim::DictConstruct")


def open_file(artifact: Artifact, graph: ModuleGraph) -> File:
    """Load an archive; it runs as it is, without what its optimiser compiles in the first calls."""
    module = torch.jit.load(str(artifact.source), map_location="cpu")

    def call(*arguments: Any, **named: Any) -> Any:
        with torch.jit.optimized_execution(False):
            return module(*arguments, **named)

    def watch(*arguments: Any, **named: Any) -> Values:
        return _watch(module, (*arguments, *named.values()))

    return file_of(call, graph, watch=watch, weights=[*module.parameters(), *module.buffers()])


def _watch(module: Any, arguments: tuple[Any, ...]) -> Values:
    """Run the graph with every tensor of its outermost block among its outputs."""
    graph = module.inlined_graph.copy()
    results = list(graph.outputs())
    while len(results) == 1 and results[0].node().kind() in WRAPPED:
        node = results[0].node()
        # Of a dict every second is a key.
        step = 2 if node.kind() == "prim::DictConstruct" else 1
        results = list(node.inputs())[step - 1 :: step]
    values = [
        (node, value)
        for node in graph.nodes()
        for value in node.outputs()
        if value.type().kind() == "TensorType" and not node.kind().startswith("prim::")
    ]
    for _, value in values:
        graph.registerOutput(value)
    graph.makeMultiOutputIntoTuple()
    function = torch._C._create_function_from_graph("watched", graph)
    with torch.jit.optimized_execution(False):
        given = function(module._c, *arguments)
    found = [
        Value(
            value.debugName(),
            node.kind(),
            as_array(tensor),
            tuple(one.debugName() for one in node.inputs()),
        )
        for (node, value), tensor in zip(values, given[-len(values) :], strict=True)
        if isinstance(tensor, Tensor)
    ]
    return found, [one.debugName() for one in pytree.tree_leaves(results)]
