"""The parity gate: every artifact, every graph, every case, every output, against eager.

A graph with state is run over whole rollouts, each side carrying its own state, and every output
and next state of every step counts. All errors are distances to float64, relative to the largest
value of that output on that case. The yardstick of an output is eager float32's own error, the
worst over all cases (one case alone it may round luckily), and half a unit in the last place at
the least. A graph may be off by four times that. And an eager module whose yardstick is past
`Graph.relative_limit` is not rounded but wrong: nothing passes then.

A decoder and a joint network must besides prefer the same labels as eager, see `export.agreement`.
Quantised, they are judged on that alone; a bias has nothing to quantise and is judged as ever.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deploy_bias.bundle import Bundle
from deploy_bias.contract import GraphContract, Precision
from deploy_bias.errors import BackendError, BundleError, DeployBiasError
from deploy_bias.runtime import Graph as LoadedGraph
from deploy_bias.runtime import load
from deploy_bias.runtime.backends import backends, missing_package
from export.agreement import Agreement, AgreementProof
from export.graphs import Call, Graph, Step
from export.graphs.model import bundle_graph
from export.run import Outputs, run_case

BUDGET = 4.0
EXACT = ("bias", "frontend", "offline_frontend")
"""The kinds of graphs that have no linear layers to quantise: the same in every precision."""


@dataclass(frozen=True)
class CaseResult:
    """One output on one case. Errors are the largest absolute distance to float64.

    error_by_eager: `error` over the yardstick, of which `budget` is four times.
    worst: the step and index of the largest error, and the values there.
    """

    case: str
    steps: int
    output: str
    error: float
    eager_error: float
    error_by_eager: float
    budget: float
    worst: dict[str, object]
    passed: bool


@dataclass(frozen=True)
class GraphResult:
    """One graph on one backend; `problem` says why it could not be checked."""

    graph: str
    backend: str
    precision: Precision
    artifact: str
    cases: tuple[CaseResult, ...]
    agreement: Agreement | None = None
    problem: str | None = None

    @property
    def passed(self) -> bool:
        """Whether it was checked, and every case is within its budget and enough labels agree."""
        found = [case.passed for case in self.cases]
        if self.agreement is not None:
            found.append(self.agreement.passed)
        return self.problem is None and bool(found) and all(found)

    @property
    def why(self) -> str:
        """What went wrong, in a line."""
        if self.problem:
            return self.problem
        if self.worst is None or self.worst.passed:
            return self.agreement.why if self.agreement else "no case was run"
        case, at = self.worst, self.worst.worst
        return (
            f"case {case.case!r}, step {at['step']}, {case.output}{at['index']}: got {at['got']}, "
            f"eager {at['eager']}, float64 {at['float64']}"
        )

    @property
    def worst(self) -> CaseResult | None:
        """The case that used most of its budget, a failed one before all."""
        if not self.cases:
            return None
        return max(self.cases, key=lambda case: (not case.passed, case.error_by_eager))


@dataclass(frozen=True)
class Report:
    """What `verify` found."""

    results: tuple[GraphResult, ...]

    @property
    def passed(self) -> bool:
        """Whether anything was checked, and all of it passed."""
        return bool(self.results) and all(result.passed for result in self.results)

    def to_json(self) -> str:
        """Return parity.json: the same for the same bundle and versions."""
        content = {
            "passed": self.passed,
            "results": [{**asdict(result), "passed": result.passed} for result in self.results],
        }
        return json.dumps(_standard(content), indent=1, allow_nan=False) + "\n"


class Mismatch(DeployBiasError):
    """An exported graph does not compute what the eager module does; the exit status is 1."""

    exit_status = 1

    def __init__(self, report: Report) -> None:
        self.report = report
        failed = [result for result in report.results if not result.passed]
        super().__init__(
            "; ".join(
                f"{result.graph} on {result.backend}, {result.precision}: {result.why}"
                for result in failed
            )
        )


def verify(bundle: Bundle, progress: Callable[[str], None] = lambda stage: None) -> Report:
    """Run every artifact of a bundle on every case and compare with eager.

    A backend that is not installed, or an artifact that does not load, is a result that did not
    pass; the others are still checked.

    Raises:
        BundleError: the manifest, the weights or the vectors themselves cannot be trusted.
    """
    with one_thread():
        return Report(tuple(_results(bundle, progress)))


def _results(bundle: Bundle, progress: Callable[[str], None]) -> Iterator[GraphResult]:
    gate = _Gate(bundle)
    for backend in bundle.manifest.backends:
        for precision in bundle.manifest.precisions(backend):
            loaded, problem = _load(bundle, backend, precision)
            for artifact in bundle.artifacts(backend, precision):
                for contract in artifact.graphs:
                    name = contract.name
                    progress(f"verify {name} on {backend}, {precision}")
                    cases: tuple[CaseResult, ...] = ()
                    agreement, why = None, problem
                    if why is None:
                        try:
                            cases = gate.cases(contract, precision, loaded[name])
                            agreement = gate.agreement(contract, precision, loaded)
                        except Exception as error:  # each runtime has its own; the others count
                            why = f"failed to run: {type(error).__name__}: {error}"
                    found = (cases, agreement, why)
                    yield GraphResult(name, backend, precision, artifact.path, *found)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute in one thread: the same sums on any machine, and no waiting for threads.

    Where other work takes the cores, threads made eager's small products 4 to 20 times slower.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _load(
    bundle: Bundle, backend: str, precision: Precision
) -> tuple[dict[str, LoadedGraph], str | None]:
    try:
        if backend in backends() and (package := missing_package(backend)):
            raise BackendError(f"not checked: {package} is not installed")
        return load(bundle, backend, precision), None
    except (BundleError, BackendError) as error:
        return {}, str(error)


class _Gate:
    """What the graphs of a bundle must give; each part is worked out when it is first asked for."""

    def __init__(self, bundle: Bundle) -> None:
        arrays = bundle.tensors(bundle.manifest.weights)
        self.weights = {name: torch.from_numpy(array) for name, array in arrays.items()}
        self.vectors = bundle.tensors(bundle.manifest.vectors)
        self.where = str(bundle.folder / bundle.manifest.weights.path)
        self.proofs: dict[str, _Proof] = {}
        self.labels: AgreementProof | None = None
        self.judged: tuple[object, dict[str, Agreement]] = (None, {})

    def cases(
        self, contract: GraphContract, precision: Precision, loaded: LoadedGraph
    ) -> tuple[CaseResult, ...]:
        """Judge every case of a graph; none of a quantised one."""
        if contract.kind not in EXACT and precision != "fp32":
            return ()
        # By its JSON: backends share a contract unless one of them is dynamic.
        key = contract.model_dump_json()
        if key not in self.proofs:
            self.proofs[key] = _Proof(self._graph(contract), self.vectors)
        return self.proofs[key].judge(loaded)

    def agreement(
        self, contract: GraphContract, precision: Precision, loaded: Mapping[str, LoadedGraph]
    ) -> Agreement | None:
        """Judge the labels that the loaded decoder and joint network prefer."""
        encodes = contract.kind in ("encoder", "offline_encoder")
        if contract.kind in EXACT or (encodes and precision == "fp32"):
            return None
        if self.labels is None:
            decoder, joint = (self._graph(loaded[name].contract) for name in ("decoder", "joint"))
            self.labels = AgreementProof(decoder, joint, self.vectors)
        if encodes:
            encoder = self._graph(contract)
            return self.labels.judge_encoder(encoder, _call(loaded[contract.name]), precision)
        if self.judged[0] is not loaded:
            calls = _call(loaded["decoder"]), _call(loaded["joint"])
            self.judged = (loaded, self.labels.judge(*calls, precision))
        return self.judged[1][contract.name]

    def _graph(self, contract: GraphContract) -> Graph:
        return bundle_graph(contract, self.weights, self.where)


def _call(loaded: LoadedGraph) -> Call:
    """Return a loaded graph that takes and gives tensors."""

    def call(inputs: Mapping[str, Tensor]) -> Outputs:
        arrays = loaded(**{name: tensor.numpy() for name, tensor in inputs.items()})
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    return call


class _Proof:
    """What one graph must give on each case, worked out once for all backends."""

    def __init__(self, graph: Graph, vectors: Mapping[str, np.ndarray]) -> None:
        self.contract = graph.contract
        self.relative_limit = graph.relative_limit
        self.cases = graph.cases()
        self.stored: dict[str, Outputs] = {}
        for case, steps, outputs in stored_cases(graph.contract, vectors):
            self.cases[f"stored {case}"] = steps
            self.stored[f"stored {case}"] = outputs
        if not self.stored:
            raise BundleError(f"no test vectors for {graph.contract.name}; export again.")
        self.eager = {
            dtype: {
                case: run_case(graph.contract, graph.eager(dtype), steps, dtype)
                for case, steps in self.cases.items()
            }
            for dtype in (torch.float32, torch.float64)
        }
        self.yardstick = {
            spec.name: max(
                relative_error(*(found[case][spec.name] for found in self.eager.values()))
                for case in self.cases
            )
            for spec in graph.contract.outputs
        }

    def judge(self, loaded: LoadedGraph) -> tuple[CaseResult, ...]:
        """Run every case on a backend and compare every output."""
        results = []
        for case, steps in self.cases.items():
            got = run_case(self.contract, _call(loaded), steps, torch.float32)
            for output in (spec.name for spec in self.contract.outputs):
                eager, exact = (found[case][output] for found in self.eager.values())
                scale = (self.yardstick[output], self.relative_limit)
                judged = judge(got[output], eager, exact, *scale)
                if case in self.stored and judged["passed"]:
                    # What other languages are tested against must be as right as what runs here.
                    judged = judge(self.stored[case][output], eager, exact, *scale)
                results.append(CaseResult(case=case, steps=len(steps), output=output, **judged))
        return tuple(results)


def vectors_of(graph: Graph) -> dict[str, Tensor]:
    """Return inputs and eager float32 outputs of its stored cases, to test other languages with.

    The tensors are named GRAPH/CASE/TENSOR and have the steps along their first axis; the state
    is not among them, for each side carries its own.
    """
    found: dict[str, Tensor] = {}
    for case in graph.stored_cases:
        steps = graph.cases()[case]
        outputs = run_case(graph.contract, graph.eager(torch.float32), steps, torch.float32)
        inputs = {
            name: torch.stack([step.inputs[name] for step in steps]) for name in steps[0].inputs
        }
        for name, tensor in {**inputs, **outputs}.items():
            found[f"{graph.contract.name}/{case}/{name}"] = tensor
    return found


def stored_cases(
    contract: GraphContract, vectors: Mapping[str, np.ndarray]
) -> Iterator[tuple[str, list[Step], Outputs]]:
    """Yield the stored cases of a graph: name, steps and expected outputs."""
    outputs = {spec.name for spec in contract.outputs}
    cases: dict[str, dict[str, Tensor]] = {}
    for key, array in sorted(vectors.items()):
        graph, case, name = key.split("/")
        if graph == contract.name:
            cases.setdefault(case, {})[name] = torch.from_numpy(array)
    for case, tensors in cases.items():
        inputs = {name: tensor for name, tensor in tensors.items() if name not in outputs}
        count = len(next(iter(inputs.values())))
        # Cloned, so aligned: where a file's bytes happen to lie in memory changes how eager rounds.
        steps = [Step({name: inputs[name][i].clone() for name in inputs}) for i in range(count)]
        yield case, steps, {name: tensors[name] for name in outputs}


def judge(
    got: Tensor, eager: Tensor, exact: Tensor, yardstick: float, relative_limit: float
) -> dict[str, Any]:
    """Compare an output of every step with float64; all of one shape.

    What is not finite must be so in the same places, with the same sign.

    Args:
        got: what a backend gave.
        eager: float32.
        exact: float64.
        yardstick: eager's own relative error.
        relative_limit: the yardstick past which eager is wrong.
    """
    if got.shape != exact.shape or got.dtype != eager.dtype:
        raise RuntimeError(
            f"output is {got.dtype} {tuple(got.shape)}, expected {eager.dtype} {tuple(exact.shape)}"
        )
    distance, largest = _distance(got, eager, exact)
    eager_distance, _ = _distance(eager, eager, exact)
    error = distance.max().item()
    at = int(distance.argmax())
    step, *index = (int(i) for i in torch.unravel_index(torch.tensor(at), distance.shape))
    # Below the least normal number the runtimes flush to zero, as the processors of phones do.
    budget = max(BUDGET * yardstick * largest, torch.finfo(torch.float32).tiny)
    return {
        "error": error,
        "eager_error": eager_distance.max().item(),
        "error_by_eager": BUDGET * error / budget,
        "budget": budget,
        "worst": {
            "step": step,
            "index": index,
            "got": _text(got.flatten()[at]),
            "eager": _text(eager.flatten()[at]),
            "float64": _text(exact.flatten()[at]),
        },
        "passed": error <= budget and yardstick <= relative_limit,
    }


def relative_error(eager: Tensor, exact: Tensor) -> float:
    """Return eager's largest error by the largest value, half a unit in the last place at least."""
    distance, largest = _distance(eager, eager, exact)
    return max(distance.max().item() / largest, torch.finfo(torch.float32).eps / 2)


def _distance(got: Tensor, eager: Tensor, exact: Tensor) -> tuple[Tensor, float]:
    """Return the distance to float64 of each element, and the largest finite value."""
    finite = exact.isfinite() & eager.isfinite()
    same = torch.where(finite, got.isfinite(), _same_special(got, eager))
    distance = torch.where(finite, (got.double() - exact).abs(), 0.0)
    largest = torch.where(finite, exact.abs(), 0.0).max().item()
    return (
        torch.where(same, distance, torch.inf),
        max(largest, torch.finfo(torch.float32).tiny),
    )


def _same_special(got: Tensor, eager: Tensor) -> Tensor:
    return (got == eager) | (got.isnan() & eager.isnan())


def _text(value: Tensor) -> str:
    return repr(value.item())


def _standard(content: Any) -> Any:
    """Infinity has no place in JSON: as text."""
    if isinstance(content, dict):
        return {key: _standard(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_standard(value) for value in content]
    return repr(content) if isinstance(content, float) and not isfinite(content) else content
