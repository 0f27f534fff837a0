"""The parity gate: every artifact, every graph, every case, every output, against eager.

A graph with state is run over whole rollouts, each side carrying its own state, and every output
and next state of every step counts. How far an output may be from float64:
`deploy_bias.export.parity.judge`. Of a
failure the smallest case and the first stage of the export that shows it are found, see
`deploy_bias.export.parity.proof`.

A decoder and a joint network must besides prefer the same labels as eager, see
`deploy_bias.export.parity.agreement`.
Quantised, they are judged on that alone; a bias has nothing to quantise and is judged as ever.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from deploy_bias.bundle import Bundle
from deploy_bias.bundle.contract import GraphContract, Precision
from deploy_bias.errors import BackendError, BundleError, OptionError
from deploy_bias.export.backends import exporter
from deploy_bias.export.graph import Call
from deploy_bias.export.graphs import BundleWeights
from deploy_bias.export.graphs.language_model import LM
from deploy_bias.export.parity.agreement import AgreementProof, required
from deploy_bias.export.parity.completeness import check_complete
from deploy_bias.export.parity.limits import distance_limits
from deploy_bias.export.parity.proof import Proof, Stage, as_specified
from deploy_bias.export.parity.results import Agreement, CaseResult, GraphResult, Report
from deploy_bias.export.parity.vectors import stored_cases
from deploy_bias.export.rollout import Outputs
from deploy_bias.runtime import Graph
from deploy_bias.runtime.backends import BACKENDS, unmet
from deploy_bias.runtime.graph import load_artifact
from deploy_bias.runtime.proof.expected import EXACT


def verify(
    bundle: Bundle,
    progress: Callable[[str], None] = lambda stage: None,
    attribute: bool = False,
    without: Sequence[str] = (),
) -> Report:
    """Run every artifact of a bundle on every case and compare with eager.

    A backend that is not installed, or an artifact that does not load, is a result that did not
    pass; the others are still checked.

    Args:
        bundle: what is to be proven.
        progress: called with the name of each stage.
        attribute: find the error after each stage of the export of what passed, too. The graphs
            are exported again for that.
        without: backends of the bundle to leave out; the report names them.

    Raises:
        OptionError: `without` names a backend that the bundle does not have, or all.
        BundleError: the manifest, the weights or the vectors themselves cannot be trusted.
    """
    names = _names(bundle, without)
    check_complete(bundle)
    return Gate(bundle, attribute).report(names, progress)


def _names(bundle: Bundle, without: Sequence[str]) -> list[str]:
    """Return the backends to check."""
    has = bundle.manifest.backends
    if foreign := [name for name in without if name not in has]:
        raise OptionError(
            f"--without {','.join(foreign)}: the bundle has {', '.join(has)}; name some of these."
        )
    names = [name for name in has if name not in without]
    if not names:
        raise OptionError(f"--without {','.join(without)}: then nothing is left to verify.")
    return names


def check(
    proof: Proof,
    loaded: Graph,
    stages_before: Callable[[], Iterator[Stage]],
    stage: str,
    attribute: bool = False,
) -> tuple[CaseResult, ...]:
    """Run a graph on every case, and explain what failed.

    Args:
        proof: what it must give.
        loaded: the graph on a backend.
        stages_before: makes the stages of its export, in order.
        stage: what the loaded graph itself is called among them.
        attribute: explain the worst case of each output, too.
    """
    call = _call(loaded)
    cases = proof.judge(call)

    def stages() -> Iterator[Stage]:
        yield from stages_before()
        yield (
            stage,
            lambda *tensors: tuple(
                torch.from_numpy(array)
                for array in loaded.run([tensor.numpy() for tensor in tensors])
            ),
        )

    found = GraphResult(loaded.contract.name, "", "fp32", "", cases)
    worst = [case for case in found.worst_by_output if attribute or not case.passed]
    if not worst:
        return cases
    explained = dict(zip(map(id, worst), proof.explain(worst, call, stages), strict=True))
    return tuple(explained.get(id(case), case) for case in cases)


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
) -> tuple[dict[str, Graph], dict[str, str]]:
    """Return the graphs by name, and by path why an artifact was not loaded."""
    loaded: dict[str, Graph] = {}
    problems: dict[str, str] = {}
    why = unmet(backend) if backend in BACKENDS else None
    for artifact in bundle.artifacts(backend, precision):
        try:
            if why:
                raise BackendError(f"not checked: {why}")
            loaded |= load_artifact(bundle, artifact)
        except (BundleError, BackendError) as error:
            problems[artifact.path] = str(error)
    return loaded, problems


class Gate:
    """What the graphs of a bundle must give; each part is worked out when it is first asked for.

    Args:
        bundle: what is to be proven.
        attribute: see `verify`.
    """

    def __init__(self, bundle: Bundle, attribute: bool = False) -> None:
        self.bundle = bundle
        self.weights = BundleWeights(bundle)
        self.attribute = attribute
        self.artifacts = bundle.manifest.artifacts
        self.contracts = {
            contract.name: contract for artifact in self.artifacts for contract in artifact.graphs
        }
        self.vectors = bundle.tensors(bundle.manifest.vectors)
        self.proofs: dict[str, Proof] = {}
        self.labels: AgreementProof | None = None
        self.judged: tuple[object, dict[str, Agreement]] = (None, {})

    def report(
        self, backends: Sequence[str], progress: Callable[[str], None] = lambda stage: None
    ) -> Report:
        """Run every artifact of some backends on every case; see `verify`."""
        with one_thread():
            results = tuple(
                result for backend in backends for result in self._results(backend, progress)
            )
        manifest = self.bundle.manifest
        without = [name for name in manifest.backends if name not in backends]
        return Report(results, manifest.artifacts, tuple(without))

    def limits(self) -> dict[str, Tensor]:
        """Return what a bundle that passed allows; see `deploy_bias.export.parity.limits`.

        Of each graph as the first backend has it.
        """
        with one_thread():
            limits: dict[str, Tensor] = {}
            for proof in self.proofs.values():
                limits = proof.limits() | limits
            precisions = dict.fromkeys(artifact.precision for artifact in self.artifacts)
            for precision in precisions:
                for contract in self.contracts.values():
                    if precision != "fp32" and contract.kind not in EXACT:
                        graph = self.weights.graph(contract)
                        limits |= distance_limits(graph, self.vectors, precision)
                share = None if self.labels is None else required(self.labels.kind, precision)
                if share is not None:
                    limits[f"{precision}/preferred"] = torch.tensor([share])
            return limits | ({} if self.labels is None else self.labels.preferred())

    def _results(self, backend: str, progress: Callable[[str], None]) -> Iterator[GraphResult]:
        bundle = self.bundle
        for precision in bundle.manifest.precisions(backend):
            loaded, problems = _load(bundle, backend, precision)
            for artifact in bundle.artifacts(backend, precision):
                for contract in artifact.graphs:
                    name = contract.name
                    progress(f"verify {name} on {backend}, {precision}")
                    cases: tuple[CaseResult, ...] = ()
                    agreement, why = None, problems.get(artifact.path)
                    if why is None:
                        try:
                            cases = self.cases(backend, precision, loaded[name])
                            agreement = self.agreement(contract, precision, loaded)
                        except BackendError as error:
                            why = f"not checked: {error}"
                        except Exception as error:  # each runtime has its own; the others count
                            why = f"failed to run: {type(error).__name__}: {error}"
                    outcome = (cases, agreement, why)
                    yield GraphResult(name, backend, precision, artifact.path, *outcome)

    def cases(self, backend: str, precision: Precision, loaded: Graph) -> tuple[CaseResult, ...]:
        """Judge every case of a graph; none of a quantised one."""
        contract = loaded.contract
        if contract.kind not in EXACT and precision != "fp32":
            return ()
        # By its JSON: backends share a contract unless one of them is dynamic.
        key = contract.model_dump_json()
        if key not in self.proofs:
            stored = list(stored_cases(contract, self.vectors))
            if not stored:
                raise BundleError(f"no test vectors for {contract.name}; export again.")
            self.proofs[key] = Proof(self.weights.graph(contract), stored)
        proof, maker = self.proofs[key], exporter(backend)
        return check(proof, loaded, lambda: maker.stages(proof.graph), maker.STAGE, self.attribute)

    def agreement(
        self, contract: GraphContract, precision: Precision, loaded: Mapping[str, Graph]
    ) -> Agreement | None:
        """Judge the labels that the loaded decoder and joint network prefer."""
        encodes = contract.kind in ("encoder", "offline_encoder")
        alone = encodes or contract.kind == LM
        if contract.kind in EXACT or (alone and precision == "fp32"):
            return None
        labelled = ("decoder", "joint")
        if self.labels is None:
            decoder, joint = (self.weights.graph(self.contracts[name]) for name in labelled)
            self.labels = AgreementProof(decoder, joint, self.vectors)
        if encodes:
            encoder = self.weights.graph(contract)
            return self.labels.judge_encoder(encoder, _call(loaded[contract.name]), precision)
        if contract.kind == LM:
            model = self.weights.graph(contract)
            return self.labels.judge_language_model(model, _call(loaded[contract.name]), precision)
        if missing := [name for name in labelled if name not in loaded]:
            raise BackendError(f"its labels need the graph {missing[0]}, which could not be loaded")
        if self.judged[0] is not loaded:
            calls = _call(loaded["decoder"]), _call(loaded["joint"])
            self.judged = (loaded, self.labels.judge(*calls, precision))
        return self.judged[1][contract.name]


def _call(loaded: Graph) -> Call:
    """Return a loaded graph that takes and gives tensors."""

    def call(inputs: Mapping[str, Tensor]) -> Outputs:
        tensors = as_specified(loaded.contract, inputs)
        arrays = loaded(
            **{
                spec.name: tensor.numpy()
                for spec, tensor in zip(loaded.contract.inputs, tensors, strict=True)
            }
        )
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    return call
