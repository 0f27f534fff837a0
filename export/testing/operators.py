"""The operators of a module, each with its line in the user's source; cut out to be looked at."""

import operator
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, fx

from deploy_bias.bundle.contract import DType
from deploy_bias.export.graph import Step
from deploy_bias.export.testing import flat
from deploy_bias.export.testing.module_graph import ModuleGraph

FRAME = re.compile(
    r'File "(?P<path>[^"]+)", line (?P<line>\d+), in \S+(\n(?! *File ")\s*(?P<code>.*))?'
)
NOT_THE_USERS = (Path(torch.__file__).parent, Path(flat.__file__))


@dataclass(frozen=True)
class Operator:
    """One operator of a module.

    Attributes:
        name: of its result, unique.
        target: of torch, as aten.gelu.default.
        source: the line of the user's that calls it, as "model.py:12: y = gelu(x)"; or nothing, if
            all its lines are torch's.
        module: the module that it is in, as "encoder.act (GELU)".
    """

    name: str
    target: str
    source: str
    module: str


class OneCase(ModuleGraph):
    """A module on its example alone."""

    def cases(self, seed: int = 0) -> dict[str, list[Step]]:
        """Return the example."""
        return {"example": [Step(self.example)]}


class Operators:
    """The operators of a module on some inputs, as torch.export sees them.

    Args:
        graph: of the module.
        inputs: of one call, in order.
    """

    def __init__(self, graph: ModuleGraph, inputs: Sequence[Tensor]) -> None:
        program = torch.export.export(graph.eager_module, tuple(inputs))
        if any(_is_mutable(node) for node in program.graph.nodes):
            program = program.run_decompositions({})
        self.inputs = tuple(inputs)
        self._grain = graph.grain
        self._module = program.module()
        assert isinstance(self._module, fx.GraphModule)
        self._nodes = {
            node.name: node for node in self._module.graph.nodes if _gives_a_known_tensor(node)
        }
        (results,) = (node for node in self._module.graph.nodes if node.op == "output")
        given = torch.utils._pytree.tree_leaves(results.args[0])
        self._results = dict(zip((s.name for s in graph.contract.outputs), given, strict=True))
        self.all = [_operator(node) for node in self._nodes.values()]

    def before(self, output: str) -> list[Operator]:
        """Return the operators that an output of the module depends on, in order."""
        needed = _ancestors(self._results[output])
        return [one for one in self.all if self._nodes[one.name] in needed]

    def fed(self, name: str) -> list[Operator]:
        """Return the operators whose results an operator takes."""
        taken = _taken(self._nodes[name])
        return [one for one in self.all if self._nodes[one.name] in taken]

    def cut(self, names: Collection[str]) -> OneCase:
        """Return the module that gives the results of some operators, and nothing else."""
        needed = set().union(*(_ancestors(self._nodes[name]) for name in names))
        graph = fx.Graph()
        copies: dict[fx.Node, fx.Node] = {}
        for node in self._module.graph.nodes:
            if node.op == "placeholder" or node in needed:
                copies[node] = graph.node_copy(node, copies.__getitem__)
        return self._part(graph, [copies[self._nodes[name]] for name in names], self.inputs)

    def alone(self, name: str) -> OneCase:
        """Return one operator as a module, fed with what eager feeds it."""
        node = self._nodes[name]
        values: dict[fx.Node, Tensor] = {}
        taken = _taken(node)
        reader = _Reader(self._module, taken, values)
        with torch.no_grad():
            reader.run(*self.inputs)
        graph = fx.Graph()
        copies: dict[fx.Node, fx.Node] = {}
        for one in values:
            copies[one] = graph.placeholder(one.name)
        for one in self._module.graph.nodes:
            if one in _own(node):
                copies[one] = graph.node_copy(one, copies.__getitem__)
        return self._part(graph, [copies[node]], tuple(values.values()))

    def _part(
        self, graph: fx.Graph, results: Sequence[fx.Node], inputs: tuple[Tensor, ...]
    ) -> OneCase:
        graph.output(tuple(results))
        options: dict[str, Any] = {"steps": None, "reference": None, "seed": 0}
        module = fx.GraphModule(self._module, graph)
        part = OneCase(module, inputs, state={}, cases={}, ranges={}, **options)
        return part if self._grain is None else part.of_half_precision(self._grain)


class _Reader(fx.Interpreter):
    """Keeps the values of some nodes."""

    def __init__(
        self, module: fx.GraphModule, wanted: Collection[fx.Node], values: dict[fx.Node, Tensor]
    ) -> None:
        super().__init__(module)
        self.wanted, self.values = wanted, values

    def run_node(self, n: fx.Node) -> Any:
        """Run a node."""
        value = super().run_node(n)
        if n in self.wanted:
            self.values[n] = value.clone()
        return value


def _own(node: fx.Node) -> set[fx.Node]:
    """Return a node, the operator of which it is one of several results, and its weights."""
    own, left = set(), [node]
    while left:
        one = left.pop()
        own.add(one)
        inner = one.all_input_nodes
        left += (
            inner if one.target is operator.getitem else [n for n in inner if n.op == "get_attr"]
        )
    return own


def _taken(node: fx.Node) -> set[fx.Node]:
    """Return the nodes that feed an operator."""
    own = _own(node)
    return {inner for one in own for inner in one.all_input_nodes} - own


def _operator(node: fx.Node) -> Operator:
    stack = node.meta.get("nn_module_stack") or {}
    where = [(path.removeprefix("inner").lstrip("."), kind) for path, kind in stack.values()]
    path, kind = where[-1] if where else ("", "")
    kind = kind if isinstance(kind, str) else kind.__qualname__
    kind = kind.rpartition(".")[2]
    caller = node
    while caller.target is operator.getitem:
        caller = caller.args[0]  # type: ignore[assignment]
    return Operator(
        name=node.name,
        target=str(caller.target),
        source=_source(caller.meta.get("stack_trace") or ""),
        module=f"{path} ({kind})" if path else kind,
    )


def _source(trace: str) -> str:
    """Return the last line of a stack that is the user's."""
    lines = [match for match in FRAME.finditer(trace) if not _is_ours(Path(match["path"]))]
    if not lines:
        return ""
    last = lines[-1]
    return f"{last['path']}:{last['line']}: {(last['code'] or '?').strip()}"


def _is_ours(path: Path) -> bool:
    return any(path.resolve().is_relative_to(one.resolve()) for one in NOT_THE_USERS)


def _ancestors(node: fx.Node) -> set[fx.Node]:
    found: set[fx.Node] = set()
    left = [node]
    while left:
        one = left.pop()
        if one not in found:
            found.add(one)
            left += one.all_input_nodes
    return found


def _gives_a_known_tensor(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return (
        node.op == "call_function"
        and isinstance(value, Tensor)
        and str(value.dtype).removeprefix("torch.") in get_args(DType)
        and 0 not in value.shape
    )


def _is_mutable(node: fx.Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable
