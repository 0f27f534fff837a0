"""TorchScript by torch.jit.trace, one file a graph."""

import io
from collections import Counter
from collections.abc import Iterator, Sequence

import torch

from deploy_bias.bundle.contract import Precision
from deploy_bias.bundle.manifest import Operators
from deploy_bias.export.backends import Exported, LabelOf, Run, file_name
from deploy_bias.export.backends.torchscript_archive import canonical
from deploy_bias.export.graph import ExportGraph
from deploy_bias.model.bias.toeplitz import toeplitz
from deploy_bias.runtime.backends.torchscript import deprecation_is_known

VERSIONS = ("torch",)
DYNAMIC = False
OFFLINE = False
PRECISIONS: tuple[Precision, ...] = ("fp32",)
STAGE = "TorchScript"


def export(graphs: Sequence[ExportGraph], precision: Precision, label: LabelOf) -> list[Exported]:
    """Export each graph as NAME.pt, with its label as an extra file."""
    return [_export_one(graph, precision, label) for graph in graphs]


def stages(graph: ExportGraph) -> Iterator[tuple[str, Run]]:
    """Yield the module that is traced."""
    yield "eager rewrite", graph.module(toeplitz)


def _export_one(graph: ExportGraph, precision: Precision, label: LabelOf) -> Exported:
    contract = graph.contract
    with deprecation_is_known():
        # Static shapes, no control flow: a trace is the whole graph.
        # Twice, as `canonical` wants it: half a second at ESPnet's recipe size.
        for _ in range(2):
            module, inputs = graph.module(toeplitz), graph.example_inputs()
            script = torch.jit.trace(module, inputs, check_trace=False)
        buffer = io.BytesIO()
        extra = {"deploy_bias": label([graph]).model_dump_json()}
        torch.jit.save(script, buffer, _extra_files=extra)
    kinds = Counter(node.kind() for node in script.inlined_graph.nodes())
    operators = {kind: count for kind, count in sorted(kinds.items()) if kind.startswith("aten::")}
    return Exported(
        path=file_name(contract, precision, ".pt"),
        data=canonical(buffer.getvalue()),
        graphs=(graph,),
        operators={contract.name: Operators(delegated={}, undelegated=operators)},
    )
