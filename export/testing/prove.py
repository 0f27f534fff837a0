"""Export any module in memory, and prove what came out, and the files made of it elsewhere."""

import importlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import inf
from time import monotonic
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from deploy_bias.errors import OptionError
from deploy_bias.export.backends import Run, exporter
from deploy_bias.export.parity.allowed import Allowed, Deviation
from deploy_bias.export.parity.gate import check, one_thread
from deploy_bias.export.parity.proof import Proof, Stage, call_of
from deploy_bias.export.parity.results import CaseResult, GraphResult, Report, WrongOperator
from deploy_bias.export.testing.artifacts import Artifact, File, reader
from deploy_bias.export.testing.artifacts.matching import DifferentInterface, FileSession
from deploy_bias.export.testing.attribution import Attribution
from deploy_bias.export.testing.exported import export_module
from deploy_bias.export.testing.module_graph import ModuleGraph
from deploy_bias.export.testing.quantized import judge_quantized
from deploy_bias.runtime import Graph
from deploy_bias.runtime.backends import unmet

COLOURS = re.compile(r"\x1b\[[0-9;]*m")
"""torch.onnx writes its errors for a terminal."""
GRAINS = {"fp16": torch.float16, "bf16": torch.bfloat16}
"""What a file of half precision computes in."""
RUNS = 8
"""Of a quantised file that is too far off, in which its ranges are looked at."""
TELLING = ("example", "normal")
"""The cases to look for a wrong operator on, if they fail."""


def prove(
    graph: ModuleGraph,
    backends: Sequence[str],
    artifacts: Sequence[Artifact] = (),
    attribute: bool = False,
    allow: Mapping[str, Allowed] = MappingProxyType({}),
    seconds: float = inf,
) -> Report:
    """Export a graph to each backend and run it there on every case; and run files on them.

    What is not installed, and what cannot be exported or loaded, is a result that did not pass; the
    others are still checked.

    Args:
        graph: what is to be proven.
        backends: the names of those to export to.
        artifacts: what somebody else made of the module.
        attribute: see `deploy_bias.export.parity.gate.check`.
        allow: see `deploy_bias.export.parity.proof.Proof`.
        seconds: likewise.

    Raises:
        BackendError: there is no backend of a name.
        OptionError: `allow` names no case and no output; or it is not certain which input or output
            of a file is which; or the module remembers, and a file cannot be told.
    """
    begin = monotonic()
    if artifacts and graph.memory:
        raise OptionError(
            f"artifacts: forward changes the module's own {', '.join(graph.memory)}, and what a "
            "file remembers cannot be set to the start of a case; take it as an input and return "
            "it, with state={INPUT: OUTPUT}, and make the file of that."
        )
    with one_thread():
        unable = {name: unmet(name) for name in backends}
        proof = Proof(graph, allow=allow, again=True, seconds=seconds)
        known = [*proof.cases, *proof.left_out, *graph.refused, *proof.refused, *proof.outputs]
        for name in allow:
            if name not in known:
                raise OptionError(f"allow: {name!r} is not among {', '.join(known)}.")
        exported = [_exported(proof, *found, attribute) for found in unable.items()]
        proofs = dict.fromkeys((None, *graph.dtypes), proof)
        read = []
        for artifact in artifacts:
            grain = GRAINS.get(artifact.precision)
            if grain is not None and grain not in proofs:
                left = seconds - (monotonic() - begin)
                half = graph.of_half_precision(grain)
                proofs[grain] = Proof(half, allow=allow, again=True, seconds=left)
            read.append(_read(proofs[grain], artifact, attribute))
        results = (*exported, *read)
        needed = {case.allowed for result in results for case in result.cases}
        return Report(
            results,
            refused=(*graph.refused, *proof.refused),
            # What was not run, or could not be, says nothing of what it would need.
            deviations=tuple(
                Deviation(
                    name,
                    rule.error,
                    rule.because,
                    name in needed
                    or name in proof.left_out
                    or any(result.problem for result in results),
                )
                for name, rule in allow.items()
            ),
            left_out=proof.left_out,
        )


def _exported(proof: Proof, backend: str, unable: str | None, attribute: bool) -> GraphResult:
    def stages() -> Iterator[Stage]:
        yield from exporter(backend).stages(proof.graph)

    def judge(loaded: Graph) -> dict[str, Any]:
        cases = check(proof, loaded, stages, exporter(backend).STAGE, attribute)
        return {"cases": _attributed(proof, cases, lambda found, _: found.on(backend))}

    empty = GraphResult(proof.contract.module.type, backend, "fp32", "", ())
    load = ("export", lambda: export_module(_graph(proof), backend)[0])
    return _result(empty, unable, load, judge)


def _read(proof: Proof, artifact: Artifact, attribute: bool) -> GraphResult:
    file, graph = reader(artifact), _graph(proof)
    opened: list[File] = []
    sessions: list[FileSession] = []

    def load() -> Graph:
        opened.append(file.open_file(artifact, graph))
        sessions.append(FileSession(artifact, opened[0], graph))
        return Graph(proof.contract, sessions[0])

    def judge(loaded: Graph) -> dict[str, Any]:
        if artifact.precision in ("int8", "int4"):
            fed: list[list[Tensor]] = []

            def run(*tensors: Tensor) -> list[Tensor]:
                fed.append(list(tensors))
                return _run(loaded)(*tensors)  # type: ignore[return-value]

            call, static = call_of(proof.contract, run), opened[0].is_static()
            agreement = judge_quantized(proof, call, artifact.precision, static)
            if agreement.passed:
                return {"agreement": agreement}
            found = [sessions[0].narrow([tensor.numpy() for tensor in row]) for row in fed[:RUNS]]
            hint = next((text for text in found if text), "")
            return {"agreement": agreement, "hint": hint}
        cases = check(proof, loaded, sessions[0].stages, "the file", attribute)
        return {"cases": _attributed(proof, cases, sessions[0].wrong_operator)}

    name = proof.contract.module.type
    empty = GraphResult(name, artifact.name, artifact.precision, artifact.name, ())
    found = _result(empty, _unmet(file.PACKAGE), ("load", load), judge)
    if found.passed or not opened or artifact.precision != "fp32":
        return found
    within = opened[0].precision()
    if within is None or GRAINS.get(within) in graph.dtypes or "precision=" in found.why:
        return found
    hint = (
        f"the file holds numbers of less than float32: if that is meant, say precision={within!r}"
    )
    return replace(found, hint=hint)


def _run(loaded: Graph) -> Run:
    """Return a graph that takes and gives tensors in order."""

    def run(*tensors: Tensor) -> list[Tensor]:
        return [torch.from_numpy(array) for array in loaded.run([t.numpy() for t in tensors])]

    return run


def _graph(proof: Proof) -> ModuleGraph:
    assert isinstance(proof.graph, ModuleGraph)
    return proof.graph


def _attributed(
    proof: Proof,
    cases: tuple[CaseResult, ...],
    find: Callable[[Attribution, str], WrongOperator | None],
) -> tuple[CaseResult, ...]:
    """Return the results with the first wrong operator of the worst of each output that failed."""

    def with_operator(case: CaseResult) -> CaseResult:
        if case.passed or case.smallest is None or case.first_stage == "eager":
            return case
        if proof.is_over:
            return case
        # Numbers like those of the example show more than zeros or a ramp.
        failed = {c.case: c for c in cases if c.output == case.output and not c.passed}
        shown = next((failed[name] for name in TELLING if name in failed), case)
        try:
            wrong = find(Attribution(_graph(proof), proof, shown), case.output)
        except Exception as error:  # an exporter may take the whole and not its parts
            text = COLOURS.sub("", f"{type(error).__name__}: {error}").strip().splitlines()[0]
            wrong = WrongOperator("not found", text, "", "", {}, 0.0)
        return replace(case, wrong=wrong)

    return tuple(map(with_operator, cases))


def _result(
    empty: GraphResult,
    unable: str | None,
    load: tuple[str, Callable[[], Graph]],
    judge: Callable[[Graph], dict[str, Any]],
) -> GraphResult:
    """Load a graph and judge it; what keeps it from that is its problem.

    Args:
        empty: without what was found.
        unable: why it cannot run here, if so.
        load: what loading it is called, and does.
        judge: runs it on every case, and returns what was found.
    """
    if unable is not None:
        return replace(empty, problem=f"not checked: {unable}")
    doing, graph = load
    try:
        loaded = graph()
        doing = "run"
        return replace(empty, **judge(loaded))
    except OptionError:
        raise
    except DifferentInterface as error:
        problem = f"is no export of this module: {error}"
    except Exception as error:  # each exporter and runtime has its own; the others count
        text = COLOURS.sub("", f"{type(error).__name__}: {error}")
        problem = f"failed to {doing}: {text}"
    return replace(empty, problem=problem)


def _unmet(package: str) -> str | None:
    try:
        importlib.import_module(package)
    except ImportError as error:
        return f"{package} cannot be imported ({error}): pip install {package}."
    return None
