""".pt2: a program of torch.export, or what AOTInductor compiled of one."""

import zipfile
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from deploy_bias.export.testing.artifacts import Artifact, File, Value, Values
from deploy_bias.export.testing.artifacts.torch_module import as_array, file_of
from deploy_bias.export.testing.module_graph import ModuleGraph

PACKAGE = "torch"


def open_file(artifact: Artifact, graph: ModuleGraph) -> File:
    """Load the compiled library that a package holds, or else the program."""
    path = str(artifact.source)
    with zipfile.ZipFile(path) as package:
        compiled = any("/data/aotinductor/" in name for name in package.namelist())
    if compiled:
        return file_of(torch._inductor.aoti_load_package(path), graph)
    program = torch.export.load(path)
    module = program.module()
    assert isinstance(module, fx.GraphModule)
    _, named = program.call_spec.in_spec.children()

    def watch(*arguments: Any, **by_name: Any) -> Values:
        return _Watch(module).all(*pytree.tree_leaves((arguments, by_name)))

    weights = [tensor for tensor in program.state_dict.values() if isinstance(tensor, Tensor)]
    return file_of(module, graph, named.context or (), watch, weights)


class _Watch(fx.Interpreter):
    """Runs a program and keeps every tensor."""

    def all(self, *inputs: Tensor) -> Values:
        """Return every value of a run on inputs in order, and the names of the outputs."""
        self.found: list[Value] = []
        self.run(*inputs, enable_io_processing=False)
        (last,) = (node for node in self.graph.nodes if node.op == "output")
        outputs = pytree.tree_leaves(last.args[0])
        return self.found, [node.name for node in outputs]

    def run_node(self, n: fx.Node) -> Any:
        """Run a node."""
        value = super().run_node(n)
        if n.op == "call_function" and isinstance(value, Tensor):
            inputs = tuple(one.name for one in n.all_input_nodes)
            self.found.append(Value(n.name, str(n.target), as_array(value), inputs))
        return value
