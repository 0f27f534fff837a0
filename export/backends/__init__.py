"""What exports to a backend, one file each, named as in `deploy_bias.runtime.backends`."""

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from deploy_bias.bundle.contract import GraphContract, Precision
from deploy_bias.bundle.manifest import Label, Operators
from deploy_bias.errors import BackendError
from deploy_bias.export.graph import ExportGraph

Run = Callable[..., Tensor | Sequence[Tensor]]
"""What takes and gives tensors in the order of a contract."""


@dataclass(frozen=True)
class Exported:
    """One artifact in memory: its file name, its bytes, and the operators of its graphs."""

    path: str
    data: bytes
    graphs: tuple[ExportGraph, ...]
    operators: dict[str, Operators]


def file_name(contract: GraphContract, precision: Precision, suffix: str) -> str:
    """Return the name of a file with one graph; the field says joiner for the joint graph."""
    stem = "joiner" if contract.kind == "joint" else contract.name
    return marked(f"{stem}{suffix}", precision)


def marked(path: str, precision: Precision) -> str:
    """Return a file name with its precision in it, if that is not fp32: decoder.int8.onnx."""
    stem, _, suffix = path.rpartition(".")
    return path if precision == "fp32" else f"{stem}.{precision}.{suffix}"


class LabelOf(Protocol):
    """Makes the label for an artifact of the given graphs."""

    def __call__(self, graphs: Sequence[ExportGraph]) -> Label:
        """Return the label."""


class Exporter(Protocol):
    """What the file of a backend defines."""

    VERSIONS: tuple[str, ...]
    """The packages whose versions decide what is written."""
    DYNAMIC: bool
    """Whether it can export biases of a dynamic length."""
    OFFLINE: bool
    """Whether it can export the graphs for whole utterances."""
    PRECISIONS: tuple[Precision, ...]
    """What it can export in."""
    STAGE: str
    """The artifact itself, as the last stage of an export."""

    def export(
        self, graphs: Sequence[ExportGraph], precision: Precision, label: LabelOf
    ) -> list[Exported]:
        """Export the graphs, with their label inside, as one or more artifacts.

        In any precision but fp32 every `nn.Linear` of a graph is quantised, and nothing else; a
        graph without one is the same in each.
        """

    def stages(self, graph: ExportGraph) -> Iterator[tuple[str, Run]]:
        """Yield what an export in fp32 makes on its way to the artifact, each ready to run."""


EXPORTERS = {
    "executorch": "deploy_bias.export.backends.executorch",
    "onnx": "deploy_bias.export.backends.onnx",
    "torchscript": "deploy_bias.export.backends.torchscript",
}
"""Where the exporter of each backend is; loaded when it is asked for."""


def exporter(name: str) -> Exporter:
    """Return the exporter of one backend.

    Raises:
        BackendError: there is no backend of that name.
    """
    if name not in EXPORTERS:
        raise BackendError(f"backend {name!r} is unknown; choose from {', '.join(EXPORTERS)}.")
    module: Exporter = importlib.import_module(EXPORTERS[name])
    return module
