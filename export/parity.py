"""The parity gate: every artifact, every graph, every case, every output, against eager.

The budget of a case is four times eager float32's own distance to float64; never less than half
a unit in the last place of the largest value, which is what rounding the result costs; and never
more than a millionth of it, for an eager module that is further off than that is wrong itself.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deploy_bias.bundle import Bundle
from deploy_bias.contract import BiasModule, DynamicSize, GraphContract
from deploy_bias.errors import BackendError, BundleError, DeployBiasError
from deploy_bias.runtime import Graph, load
from deploy_bias.runtime.backends import backends, missing_package
from export.cases import score_cases
from export.checkpoint import Bias, build_bias_modules
from export.reference import eager_float32, exact_float64

BUDGET = 4.0
LARGEST_BUDGET = 1e-6


@dataclass(frozen=True)
class CaseResult:
    """One output on one case. Errors are the largest absolute distance to float64.

    error_by_eager: `error` over `eager_error`; None where eager is exact.
    worst: the index of the largest error, and the values there.
    """

    case: str
    shape: tuple[int, ...]
    output: str
    error: float
    eager_error: float
    error_by_eager: float | None
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
            f"case {case.case!r} {case.shape}, {case.output}{at['index']}: got {at['got']}, "
            f"eager {at['eager']}, float64 {at['float64']}"
        )

    @property
    def worst(self) -> CaseResult | None:
        """The case that used most of its budget, a failed one before all."""
        if not self.cases:
            return None
        return max(self.cases, key=lambda case: (not case.passed, case.error / case.budget))


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
    modules = eager_modules(bundle)
    vectors = bundle.tensors(bundle.manifest.vectors)
    results = []
    for backend in bundle.manifest.backends:
        progress(f"verify {backend}")
        results += _verify_backend(bundle, backend, modules, vectors)
    return Report(tuple(results))


def _verify_backend(
    bundle: Bundle, backend: str, modules: dict[str, Bias], vectors: dict[str, np.ndarray]
) -> list[GraphResult]:
    problem, graphs = None, {}
    try:
        if backend in backends() and (package := missing_package(backend)):
            raise BackendError(f"not checked: {package} is not installed")
        graphs = load(bundle, backend)
    except (BundleError, BackendError) as error:
        problem = str(error)
    results = []
    for artifact in bundle.artifacts(backend):
        for contract in artifact.graphs:
            found: tuple[CaseResult, ...] = ()
            why = problem
            if why is None:
                try:
                    found = _verify_graph(
                        graphs[contract.name], modules[contract.module.weights], vectors
                    )
                except Exception as error:  # each runtime has its own; the others still count
                    why = f"failed to run: {type(error).__name__}: {error}"
            results.append(GraphResult(contract.name, backend, artifact.path, found, why))
    return results


def _verify_graph(
    graph: Graph, bias: Bias, vectors: dict[str, np.ndarray]
) -> tuple[CaseResult, ...]:
    name = graph.contract.name
    stored = {
        key.split("/")[1]: torch.from_numpy(value)
        for key, value in sorted(vectors.items())
        if key.startswith(f"{name}/") and key.endswith("/scores")
    }
    if not stored:
        raise BundleError(f"no test vectors for {name}; export again.")
    results = [
        _compare(graph, bias, case, make(shape))
        for shape in _shapes(graph.contract)
        for case, make in score_cases().items()
    ]
    for case, scores in stored.items():
        expected = torch.from_numpy(vectors[f"{name}/{case}/biased_scores"])
        results.append(_compare(graph, bias, f"stored {case}", scores, expected))
    return tuple(results)


def _compare(
    graph: Graph, bias: Bias, case: str, scores: Tensor, stored: Tensor | None = None
) -> CaseResult:
    exact = exact_float64(bias, scores)
    eager = eager_float32(bias, scores)
    output = graph.contract.outputs[0].name
    got = torch.from_numpy(graph(scores=scores.numpy())[output])
    judged = judge(got, eager, exact)
    if stored is not None and judged["passed"]:
        # What other languages are tested against must be as right as what is run here.
        judged = judge(stored, eager, exact)
    return CaseResult(case=case, shape=tuple(scores.shape), output=output, **judged)


def judge(got: Tensor, eager: Tensor, exact: Tensor) -> dict[str, Any]:
    """Compare one output with eager float32 and float64; all of one shape.

    What is not finite must be so in the same places, with the same sign.
    """
    if got.shape != exact.shape or got.dtype != eager.dtype:
        raise RuntimeError(
            f"output is {got.dtype} {tuple(got.shape)}, expected {eager.dtype} {tuple(exact.shape)}"
        )
    finite = exact.isfinite() & eager.isfinite()
    same = torch.where(finite, got.isfinite(), _same_special(got, eager))
    distance = torch.where(finite, (got.double() - exact).abs(), 0.0)
    distance = torch.where(same, distance, torch.inf)
    eager_distance = torch.where(finite, (eager.double() - exact).abs(), 0.0)
    error, eager_error = distance.max().item(), eager_distance.max().item()
    largest = torch.where(finite, exact.abs(), 0.0).max().item()
    largest = max(largest, torch.finfo(torch.float32).tiny)
    rounding = torch.finfo(torch.float32).eps / 2 * largest
    budget = min(max(BUDGET * eager_error, rounding), LARGEST_BUDGET * largest)
    at = int(distance.argmax())
    index = [int(i) for i in torch.unravel_index(torch.tensor(at), distance.shape)]
    return {
        "error": error,
        "eager_error": eager_error,
        "error_by_eager": error / eager_error if eager_error else None,
        "budget": budget,
        "worst": {
            "index": index,
            "got": _text(got.flatten()[at]),
            "eager": _text(eager.flatten()[at]),
            "float64": _text(exact.flatten()[at]),
        },
        "passed": error <= budget,
    }


def _same_special(got: Tensor, eager: Tensor) -> Tensor:
    return (got == eager) | (got.isnan() & eager.isnan())


def _text(value: Tensor) -> str:
    return repr(value.item())


def _shapes(contract: GraphContract) -> list[tuple[int, ...]]:
    """Return the shape of a static graph; for a dynamic one, the borders and some between."""
    batch, *lengths = contract.inputs[0].shape
    sizes = [size for size in lengths if isinstance(size, DynamicSize)]
    if not sizes:
        return [tuple(int(size) for size in contract.inputs[0].shape)]  # type: ignore[arg-type]
    longest = sizes[-1].maximum
    middle = max(1, longest // 2)
    windows = [(1, 1), (1, longest), (min(2, longest), min(3, longest)), (middle, longest)]
    windows += [(middle, middle), (longest, longest)]
    return [(int(batch), q, k) for q, k in dict.fromkeys(windows)]  # type: ignore[arg-type]


def eager_modules(bundle: Bundle) -> dict[str, Bias]:
    """Build the eager modules of a bundle from its weights, by the prefix of their parameters."""
    arrays = bundle.tensors(bundle.manifest.weights)
    state = {name: torch.from_numpy(array) for name, array in arrays.items()}
    where = str(bundle.folder / bundle.manifest.weights.path)
    return {
        contract.module.weights: _eager_module(contract.module, state, where)
        for artifact in bundle.manifest.artifacts
        for contract in artifact.graphs
    }


def _eager_module(said: BiasModule, state: dict[str, Tensor], where: str) -> Bias:
    own = {k: tensor for k, tensor in state.items() if k.rpartition(".")[0] == said.weights}
    options = {
        "rel_pos_bias_type": "rotary" if said.size else "simple",
        "max_positions": said.max_positions,
        "chunk_size": -1,
    }
    return build_bias_modules(own, options, where)[said.weights]


def _standard(content: Any) -> Any:
    """Infinity has no place in JSON: as text."""
    if isinstance(content, dict):
        return {key: _standard(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_standard(value) for value in content]
    return repr(content) if isinstance(content, float) and not isfinite(content) else content
