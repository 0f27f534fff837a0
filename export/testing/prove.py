"""Export any module in memory, and prove what came out."""

import hashlib
import re
from collections.abc import Sequence

import deploy_bias
from deploy_bias.bundle.contract import ForeignModule
from deploy_bias.bundle.manifest import Label
from deploy_bias.export.backends import exporter
from deploy_bias.export.graph import ExportGraph
from deploy_bias.export.parity.gate import check, one_thread
from deploy_bias.export.parity.proof import Proof
from deploy_bias.export.parity.results import CaseResult, GraphResult, Report
from deploy_bias.export.testing.module_graph import ModuleGraph
from deploy_bias.runtime import Graph
from deploy_bias.runtime.backends import missing_package, open_session

COLOURS = re.compile(r"\x1b\[[0-9;]*m")
"""torch.onnx writes its errors for a terminal."""


def prove(graph: ModuleGraph, backends: Sequence[str], attribute: bool = False) -> Report:
    """Export a graph to each backend and run it there on every case.

    A backend that is not installed, or that cannot export the graph, is a result that did not
    pass; the others are still checked.

    Args:
        graph: what is to be proven.
        backends: their names.
        attribute: see `deploy_bias.export.parity.gate.check`.

    Raises:
        BackendError: there is no backend of a name.
    """
    with one_thread():
        missing = {name: missing_package(name) for name in backends}
        proof = Proof(graph)
        return Report(
            tuple(_result(proof, name, package, attribute) for name, package in missing.items()),
            refused=graph.refused,
        )


def _result(proof: Proof, backend: str, missing: str | None, attribute: bool) -> GraphResult:
    cases: tuple[CaseResult, ...] = ()
    problem = None if missing is None else f"not checked: {missing} is not installed"
    doing = "export"
    if problem is None:
        try:
            loaded = _export(proof.graph, backend)
            doing = "run"
            cases = check(proof, loaded, backend, attribute)
        except Exception as error:  # each exporter and runtime has its own; the others count
            said = COLOURS.sub("", f"{type(error).__name__}: {error}")
            problem = f"failed to {doing}: {said}"
    module = proof.contract.module
    assert isinstance(module, ForeignModule)
    return GraphResult(module.name, backend, "fp32", "", cases, problem=problem)


def _export(graph: ExportGraph, backend: str) -> Graph:
    label = Label(
        exporter={"deploy_bias": deploy_bias.__version__},
        weights_sha256=_sha256(graph),
        precision="fp32",
        graphs=(graph.contract,),
    )
    (exported,) = exporter(backend).export([graph], "fp32", lambda graphs: label)
    return Graph(graph.contract, open_session(backend, exported.data, exported.path))


def _sha256(graph: ExportGraph) -> str:
    assert isinstance(graph, ModuleGraph)
    hashed = hashlib.sha256()
    for name, tensor in graph.eager_module.state_dict().items():
        hashed.update(name.encode())
        hashed.update(tensor.cpu().contiguous().numpy().tobytes())
    return hashed.hexdigest()
