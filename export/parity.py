"""The parity gate: every artifact, every graph, every case, every output, against eager.

A graph with state is run over whole rollouts, each side carrying its own state, and every output
and next state of every step counts. All errors are distances to float64, relative to the largest
value of that output on that case. The yardstick of an output is eager float32's own error, the
worst over all cases (one case alone it may round luckily), and half a unit in the last place at
the least. A graph may be off by four times that. And an eager module whose yardstick is past
`Graph.relative_limit` is not rounded but wrong: nothing passes then.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deploy_bias.bundle import Bundle
from deploy_bias.contract import DecoderModule, GraphContract, TensorSpec
from deploy_bias.errors import BackendError, BundleError, DeployBiasError
from deploy_bias.runtime import Graph as LoadedGraph
from deploy_bias.runtime import load
from deploy_bias.runtime.backends import backends, missing_package
from deploy_bias.window import next_valid
from export.graphs import Call, Graph, Step
from export.graphs.model import bundle_graph

BUDGET = 4.0

Outputs = dict[str, Tensor]
"""An output of every step of a case, stacked along a new first axis, by name."""


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
    artifact: str
    cases: tuple[CaseResult, ...]
    problem: str | None = None

    @property
    def passed(self) -> bool:
        """Whether it was checked and every case is within its budget."""
        return self.problem is None and all(case.passed for case in self.cases)

    @property
    def why(self) -> str:
        """What went wrong, in a line."""
        if self.problem or self.worst is None:
            return self.problem or "no case was run"
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
            "; ".join(f"{result.graph} on {result.backend}: {result.why}" for result in failed)
        )


def verify(bundle: Bundle, progress: Callable[[str], None] = lambda stage: None) -> Report:
    """Run every artifact of a bundle on every case and compare with eager.

    A backend that is not installed, or an artifact that does not load, is a result that did not
    pass; the others are still checked.

    Raises:
        BundleError: the manifest, the weights or the vectors themselves cannot be trusted.
    """
    arrays = bundle.tensors(bundle.manifest.weights)
    weights = {name: torch.from_numpy(array) for name, array in arrays.items()}
    vectors = bundle.tensors(bundle.manifest.vectors)
    where = str(bundle.folder / bundle.manifest.weights.path)
    proofs: dict[str, _Proof] = {}
    results = []
    for backend in bundle.manifest.backends:
        loaded, problem = _load(bundle, backend)
        for artifact in bundle.artifacts(backend):
            for contract in artifact.graphs:
                progress(f"verify {contract.name} on {backend}")
                # By its JSON: backends share a contract unless one of them is dynamic.
                key = contract.model_dump_json()
                found: tuple[CaseResult, ...] = ()
                why = problem
                if why is None:
                    try:
                        if key not in proofs:
                            proofs[key] = _Proof(bundle_graph(contract, weights, where), vectors)
                        found = proofs[key].judge(loaded[contract.name])
                    except Exception as error:  # each runtime has its own; the others still count
                        why = f"failed to run: {type(error).__name__}: {error}"
                results.append(GraphResult(contract.name, backend, artifact.path, found, why))
    return Report(tuple(results))


def _load(bundle: Bundle, backend: str) -> tuple[dict[str, LoadedGraph], str | None]:
    try:
        if backend in backends() and (package := missing_package(backend)):
            raise BackendError(f"not checked: {package} is not installed")
        return load(bundle, backend), None
    except (BundleError, BackendError) as error:
        return {}, str(error)


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

        def call(inputs: Mapping[str, Tensor]) -> Outputs:
            arrays = loaded(**{name: tensor.numpy() for name, tensor in inputs.items()})
            return {name: torch.from_numpy(array) for name, array in arrays.items()}

        results = []
        for case, steps in self.cases.items():
            got = run_case(self.contract, call, steps, torch.float32)
            for output in (spec.name for spec in self.contract.outputs):
                eager, exact = (found[case][output] for found in self.eager.values())
                scale = (self.yardstick[output], self.relative_limit)
                judged = judge(got[output], eager, exact, *scale)
                if case in self.stored and judged["passed"]:
                    # What other languages are tested against must be as right as what runs here.
                    judged = judge(self.stored[case][output], eager, exact, *scale)
                results.append(CaseResult(case=case, steps=len(steps), output=output, **judged))
        return tuple(results)


def run_case(
    contract: GraphContract, call: Call, steps: Sequence[Step], dtype: torch.dtype
) -> Outputs:
    """Run a case, the state carried as the contract says.

    Args:
        contract: of the graph.
        call: what computes one step.
        steps: the case.
        dtype: of the floating-point inputs and state.

    Returns:
        Each output of every step, stacked.
    """
    state = saved = initial_state(contract, dtype)
    outputs: list[Outputs] = []
    for step in steps:
        if step.state == "reset":
            state = initial_state(contract, dtype)
        elif step.state == "save":
            saved = state
        elif step.state == "restore":
            state = saved
        own = {
            name: tensor.to(dtype) if tensor.is_floating_point() else tensor
            for name, tensor in step.inputs.items()
        }
        found = call({**own, **state})
        state = next_state(contract, state, found)
        outputs.append(found)
    return {
        spec.name: torch.stack([found[spec.name] for found in outputs]) for spec in contract.outputs
    }


def initial_state(contract: GraphContract, dtype: torch.dtype) -> Outputs:
    """Return the state before the first step, by input name."""
    specs = {spec.name: spec for spec in contract.inputs}
    return {
        state.input: torch.full(
            _shape(specs[state.input]),
            state.initial,
            dtype=torch.int64 if specs[state.input].dtype == "int64" else dtype,
        )
        for state in contract.state
    }


def next_state(contract: GraphContract, state: Outputs, outputs: Outputs) -> Outputs:
    """Return the state after a step, as the contract says."""
    after: Outputs = {}
    for rule in contract.state:
        value = state[rule.input]
        if rule.update == "count":
            module = contract.module
            assert isinstance(module, DecoderModule)
            chunk_size = module.options.get("chunk_size", -1)
            counts = [
                next_valid(int(count), module.context, chunk_size, module.start) for count in value
            ]
            after[rule.input] = torch.tensor(counts)
        elif rule.update == "append":
            assert rule.output is not None
            assert rule.row is not None
            row = outputs[rule.output][rule.row].unsqueeze(1)
            after[rule.input] = torch.cat([value[:, 1:], row], dim=1)
        else:
            assert rule.output is not None
            after[rule.input] = outputs[rule.output]
    return after


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


def _shape(spec: TensorSpec) -> list[int]:
    return [size for size in spec.shape if isinstance(size, int)]


def _standard(content: Any) -> Any:
    """Infinity has no place in JSON: as text."""
    if isinstance(content, dict):
        return {key: _standard(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_standard(value) for value in content]
    return repr(content) if isinstance(content, float) and not isfinite(content) else content
