"""Export any module in memory, and prove what came out, and the files made of it elsewhere."""

import hashlib
import importlib
import re
from collections.abc import Callable, Iterator, Sequence

import deploy_bias
from deploy_bias.bundle.contract import ForeignModule
from deploy_bias.bundle.manifest import Label
from deploy_bias.errors import OptionError
from deploy_bias.export.backends import exporter
from deploy_bias.export.graph import ExportGraph
from deploy_bias.export.parity.gate import check, one_thread
from deploy_bias.export.parity.proof import Proof, Stage
from deploy_bias.export.parity.results import CaseResult, GraphResult, Report
from deploy_bias.export.testing.artifacts import Artifact, reader
from deploy_bias.export.testing.artifacts.matching import DifferentInterface, FileSession
from deploy_bias.export.testing.module_graph import ModuleGraph
from deploy_bias.runtime import Graph
from deploy_bias.runtime.backends import open_session, unmet

COLOURS = re.compile(r"\x1b\[[0-9;]*m")
"""torch.onnx writes its errors for a terminal."""


def prove(
    graph: ModuleGraph,
    backends: Sequence[str],
    artifacts: Sequence[Artifact] = (),
    attribute: bool = False,
) -> Report:
    """Export a graph to each backend and run it there on every case; and run files on them.

    What is not installed, and what cannot be exported or loaded, is a result that did not pass; the
    others are still checked.

    Args:
        graph: what is to be proven.
        backends: the names of those to export to.
        artifacts: what somebody else made of the module.
        attribute: see `deploy_bias.export.parity.gate.check`.

    Raises:
        BackendError: there is no backend of a name.
        OptionError: it is not certain which input or output of a file is which.
    """
    with one_thread():
        unable = {name: unmet(name) for name in backends}
        proof = Proof(graph)
        exported = [_exported(proof, *found, attribute) for found in unable.items()]
        read = [_read(proof, artifact, attribute) for artifact in artifacts]
        return Report((*exported, *read), refused=graph.refused)


def _exported(proof: Proof, backend: str, unable: str | None, attribute: bool) -> GraphResult:
    def stages() -> Iterator[Stage]:
        yield from exporter(backend).stages(proof.graph)

    return _result(
        proof,
        (backend, ""),
        unable,
        ("export", lambda: _export(proof.graph, backend)),
        lambda loaded: check(proof, loaded, stages, exporter(backend).STAGE, attribute),
    )


def _read(proof: Proof, artifact: Artifact, attribute: bool) -> GraphResult:
    def load() -> Graph:
        assert isinstance(proof.graph, ModuleGraph)
        file = reader(artifact).open_file(artifact, proof.graph)
        return Graph(proof.contract, FileSession(artifact, file, proof.graph))

    return _result(
        proof,
        (artifact.name, artifact.name),
        _unmet(reader(artifact).PACKAGE),
        ("load", load),
        lambda loaded: check(proof, loaded, lambda: iter(()), "the file", attribute),
    )


def _result(
    proof: Proof,
    names: tuple[str, str],
    unable: str | None,
    load: tuple[str, Callable[[], Graph]],
    judge: Callable[[Graph], tuple[CaseResult, ...]],
) -> GraphResult:
    """Load a graph and judge it; what keeps it from that is its problem.

    Args:
        proof: what it must give.
        names: of its backend and its artifact.
        unable: why it cannot run here, if so.
        load: what loading it is called, and does.
        judge: runs it on every case.
    """
    cases: tuple[CaseResult, ...] = ()
    problem = None if unable is None else f"not checked: {unable}"
    if problem is None:
        doing, graph = load
        try:
            loaded = graph()
            doing = "run"
            cases = judge(loaded)
        except OptionError:
            raise
        except DifferentInterface as error:
            problem = f"is no export of this module: {error}"
        except Exception as error:  # each exporter and runtime has its own; the others count
            text = COLOURS.sub("", f"{type(error).__name__}: {error}")
            problem = f"failed to {doing}: {text}"
    module = proof.contract.module
    assert isinstance(module, ForeignModule)
    backend, artifact = names
    return GraphResult(module.name, backend, "fp32", artifact, cases, problem=problem)


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


def _unmet(package: str) -> str | None:
    try:
        importlib.import_module(package)
    except ImportError as error:
        return f"{package} cannot be imported ({error}): pip install {package}."
    return None
