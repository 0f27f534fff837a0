"""TorchScript by torch.jit.trace, one file a graph."""

import io
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence

import torch

from deploy_bias.contract import Operators, Precision
from deploy_bias.toeplitz import toeplitz
from export.backends import Exported, LabelOf, Run, file_name
from export.graphs import Graph

VERSIONS = ("torch",)
DYNAMIC = False
PRECISIONS: tuple[Precision, ...] = ("fp32",)
STAGE = "TorchScript"
WRITTEN_BY_ITSELF = ("version", "byteorder", ".data/serialization_id")
"""Records that the writer adds to every archive."""


def export(graphs: Sequence[Graph], precision: Precision, label: LabelOf) -> list[Exported]:
    """Export each graph as NAME.pt, with its label as an extra file."""
    return [_export_one(graph, precision, label) for graph in graphs]


def stages(graph: Graph) -> Iterator[tuple[str, Run]]:
    """Yield the module that is traced."""
    yield "eager rewrite", graph.module(toeplitz)


def _export_one(graph: Graph, precision: Precision, label: LabelOf) -> Exported:
    contract = graph.contract
    with warnings.catch_warnings():
        # torch deprecates TorchScript in favour of torch.export; both are offered here.
        warnings.simplefilter("ignore", DeprecationWarning)
        # Static shapes, no control flow: a trace is the whole graph.
        script = torch.jit.trace(graph.module(toeplitz), graph.example_inputs(), check_trace=False)
        buffer = io.BytesIO()
        extra = {"deploy_bias": label([graph]).model_dump_json()}
        torch.jit.save(script, buffer, _extra_files=extra)
    kinds = Counter(node.kind() for node in script.inlined_graph.nodes())
    operators = {kind: count for kind, count in sorted(kinds.items()) if kind.startswith("aten::")}
    return Exported(
        path=file_name(contract, precision, ".pt"),
        data=_without_debug_files(buffer.getvalue()),
        graphs=(graph,),
        operators={contract.name: Operators(delegated={}, undelegated=operators)},
    )


def _without_debug_files(archive: bytes) -> bytes:
    """Drop the source locations, which name files of the exporting machine."""
    reader = torch._C.PyTorchFileReader(io.BytesIO(archive))
    buffer = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(buffer)
    for name in reader.get_all_records():
        if not name.endswith(".debug_pkl") and name not in WRITTEN_BY_ITSELF:
            data = reader.get_record(name)
            writer.write_record(name, data, len(data))
    writer.write_end_of_file()
    return buffer.getvalue()
