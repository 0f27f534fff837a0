"""One file a backend, of the same name as in `deploy_bias.runtime.backends`."""

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from deploy_bias.contract import GraphContract, Label, Operators, Precision
from deploy_bias.errors import BackendError
from export.graphs import Graph

Run = Callable[..., Tensor | Sequence[Tensor]]
"""What takes and gives tensors in the order of a contract."""


@dataclass(frozen=True)
class Exported:
    """One artifact in memory: its file name, its bytes, and the operators of its graphs."""

    path: str
    data: bytes
    graphs: tuple[Graph, ...]
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

    def __call__(self, graphs: Sequence[Graph]) -> Label:
        """Return the label."""


class Backend(Protocol):
    """What a file of this folder defines."""

    VERSIONS: tuple[str, ...]
    """The packages whose versions decide what is written."""
    DYNAMIC: bool
    """Whether it can export a dynamic length."""
    PRECISIONS: tuple[Precision, ...]
    """What it can export in."""
    STAGE: str
    """The artifact itself, as the last stage of an export."""

    def export(
        self, graphs: Sequence[Graph], precision: Precision, label: LabelOf
    ) -> list[Exported]:
        """Export the graphs, with their label inside, as one or more artifacts.

        In any precision but fp32 every `nn.Linear` of a graph is quantised, and nothing else; a
        graph without one is the same in each.
        """

    def stages(self, graph: Graph) -> Iterator[tuple[str, Run]]:
        """Yield what an export in fp32 makes on its way to the artifact, each ready to run."""


def backends() -> dict[str, Backend]:
    """Return every backend by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return {name: importlib.import_module(f"{__name__}.{name}") for name in names}


def backend(name: str) -> Backend:
    """Return one backend.

    Raises:
        BackendError: there is no backend of that name.
    """
    known = backends()
    if name not in known:
        raise BackendError(f"backend {name!r} is unknown; choose from {', '.join(known)}.")
    return known[name]
