"""ExecuTorch with the XNNPACK delegate: one .pte, a method for each graph, weights shared."""

import copy
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from deploy_bias.bundle.contract import Precision
from deploy_bias.bundle.manifest import Operators
from deploy_bias.errors import BackendError
from deploy_bias.export.backends import Exported, LabelOf, Run, marked
from deploy_bias.export.graph import ExportGraph
from deploy_bias.model.bias.toeplitz import toeplitz_by_gather

VERSIONS = ("torch", "executorch", "torchao")
DYNAMIC = False
OFFLINE = True
PRECISIONS: tuple[Precision, ...] = ("fp32", "int8", "int4", "auto")
STAGE = "delegate"
GROUP = 32
"""Weights that share a scale in int4. XNNPACK has no smaller groups; larger ones err more."""


def export(graphs: Sequence[ExportGraph], precision: Precision, label: LabelOf) -> list[Exported]:
    """Export all graphs as model.pte, with the label as a constant method."""
    programs = {
        graph.contract.name: torch.export.export(
            quantize(graph.module(toeplitz_by_gather), precision, graph.float_layers),
            graph.example_inputs(),
            dynamic_shapes=graph.dynamic_shapes(),
        )
        for graph in graphs
    }
    for program in programs.values():
        _check_bounds(program)
    undelegated = {graph.contract.name: graph.undelegated for graph in graphs}
    edge = lower(programs, {"deploy_bias": label(graphs).model_dump_json()}, undelegated)
    # Before to_executorch, which rewrites the edge programs in place.
    operators = {name: _operators(edge.exported_program(name)) for name in programs}
    data = bytes(edge.to_executorch(_config(graphs)).buffer)
    return [Exported(marked("model.pte", precision), data, tuple(graphs), operators)]


def stages(graph: ExportGraph) -> Iterator[tuple[str, Run]]:
    """Yield the module, what torch.export makes of it, and that in the edge dialect."""
    from executorch.exir import to_edge

    module = graph.module(toeplitz_by_gather)
    yield "eager rewrite", module
    program = torch.export.export(
        module, graph.example_inputs(), dynamic_shapes=graph.dynamic_shapes()
    )
    yield "ExportedProgram", program.module()
    yield "edge dialect", to_edge(program).exported_program().module()


def _check_bounds(program: torch.export.ExportedProgram) -> None:
    """See that memory can be planned: for the greatest size of each dynamic dimension.

    Raises:
        BackendError: one has none.
    """
    from torch.utils._sympy.numbers import int_oo

    for symbol, bounds in program.range_constraints.items():
        if bounds.upper == int_oo:
            raise BackendError(
                f"ExecuTorch plans its memory for the greatest size, and {symbol} has none; say it "
                "in dynamic_shapes, as Dim('batch', max=8)."
            )


def quantize(
    module: nn.Module, precision: Precision, float_layers: Collection[str] = ()
) -> nn.Module:
    """Return a module with quantised linear layers: 8 bits a row, or 4 bits a group.

    By torchao and not pt2e: that cuts the decoder of ESPnet's recipe size into 7 delegates, this
    leaves one (0.66 ms a step against 0.69, the same error). A row that is no whole number of
    groups is left at 8 bits. In "auto" 8 bits, and `float_layers` as they are.
    """
    if precision == "fp32":
        return module
    from torchao.quantization import Int8DynamicActivationIntxWeightConfig, quantize_
    from torchao.quantization.granularity import PerAxis, PerGroup

    config = Int8DynamicActivationIntxWeightConfig
    rows = config(weight_dtype=torch.int8, weight_granularity=PerAxis(0))
    int4: Any = torch.int4  # type: ignore[attr-defined]
    groups = config(weight_dtype=int4, weight_granularity=PerGroup(GROUP))
    module = copy.deepcopy(module)
    layers = {name: m for name, m in module.named_modules() if isinstance(m, nn.Linear)}
    if precision == "auto":
        layers = {name: layer for name, layer in layers.items() if name not in float_layers}
    grouped = {
        name for name, m in layers.items() if precision == "int4" and m.in_features % GROUP == 0
    }
    quantize_(module, groups, filter_fn=lambda _, name: name in grouped)
    quantize_(module, rows, filter_fn=lambda _, name: name in layers.keys() - grouped)
    return module


def lower(
    programs: dict[str, torch.export.ExportedProgram],
    constant_methods: dict[str, str],
    undelegated: Mapping[str, Collection[str]],
) -> Any:
    """Lower to the edge dialect, with all that pays delegated to XNNPACK, within loops too.

    Args:
        programs: by the name of their method.
        constant_methods: what the file says besides.
        undelegated: of a method, the operators to keep from XNNPACK.
    """
    from executorch.exir import to_edge_transform_and_lower

    return to_edge_transform_and_lower(
        programs,
        partitioner={name: [partitioner(undelegated.get(name, ()))] for name in programs},
        constant_methods=constant_methods,
    )


def partitioner(undelegated: Collection[str]) -> Any:
    """Return what picks the operators for XNNPACK.

    XNNPACK's own partitioner does not look into the body of a loop, which a `scan` becomes:
    undelegated it took 2.3 times as long.

    Args:
        undelegated: operators to leave out.
    """
    from executorch.backends.xnnpack.partition.config import ALL_PARTITIONER_CONFIGS
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir.graph_module import get_control_flow_submodules

    class LoopPartitioner(XnnpackPartitioner):
        def generate_partitions(self, ep: torch.export.ExportedProgram) -> list[Any]:
            partitions = list(super().generate_partitions(ep))
            for _, body, loop in get_control_flow_submodules(ep.graph_module):
                if loop.target is torch.ops.higher_order.scan:
                    inner = copy.copy(ep)
                    inner._graph_module = body
                    partitions += super().generate_partitions(inner)
            for number, partition in enumerate(partitions):
                partition.id = number  # tells them apart
            return partitions

    configs = [
        config for config in ALL_PARTITIONER_CONFIGS if config.target_name not in undelegated
    ]
    return LoopPartitioner(configs=configs)


def _config(graphs: Sequence[ExportGraph]) -> Any:
    """Let the graphs with state read the caller's memory: a copy of the windows costs a third."""
    from executorch.exir import ExecutorchBackendConfig
    from executorch.exir.passes import MemoryPlanningPass

    return ExecutorchBackendConfig(
        memory_planning_pass={
            graph.contract.name: MemoryPlanningPass(alloc_graph_input=False)
            for graph in graphs
            if graph.contract.state
        }
    )


def _operators(program: torch.export.ExportedProgram) -> Operators:
    delegated: Counter[str] = Counter()
    undelegated: Counter[str] = Counter()
    for node in program.graph.nodes:
        if node.op == "get_attr" and hasattr(program.graph_module, node.target):
            inner = getattr(program.graph_module, node.target)
            if isinstance(inner, torch.fx.GraphModule):  # a branch of torch.cond
                undelegated.update(_names(inner.graph))
            elif hasattr(inner, "original_module"):
                delegated.update(_names(inner.original_module.graph))
        elif node.op == "call_function":
            undelegated.update(_names_of(node))
    return Operators(
        delegated=dict(sorted(delegated.items())), undelegated=dict(sorted(undelegated.items()))
    )


def _names(graph: torch.fx.Graph) -> list[str]:
    return [name for node in graph.nodes if node.op == "call_function" for name in _names_of(node)]


def _names_of(node: torch.fx.Node) -> list[str]:
    overload = getattr(node.target, "_op", node.target)
    if not isinstance(overload, torch._ops.OpOverload):
        return []  # getitem and the call of a delegate
    return [str(overload)]
