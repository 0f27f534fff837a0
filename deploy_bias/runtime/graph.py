"""A loaded graph: inputs checked against the contract, then run by its backend."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from deploy_bias.bundle import Bundle
from deploy_bias.bundle.bundle import parse_label
from deploy_bias.bundle.contract import DynamicSize, GraphContract, Precision, TensorSpec
from deploy_bias.bundle.manifest import Artifact, Label
from deploy_bias.errors import BundleError, ContractError
from deploy_bias.runtime.backends import BACKENDS, Session, backend, open_session, require
from deploy_bias.runtime.checks import describe


class Graph:
    """One graph of a bundle, on one backend. Call it with its inputs by name.

    Args:
        contract: what it takes and gives.
        session: what runs it.
        weights_sha256: of the weights that it was made of; graphs of one model share it.
    """

    def __init__(
        self, contract: GraphContract, session: Session, weights_sha256: str | None = None
    ) -> None:
        self.contract = contract
        self.weights_sha256 = weights_sha256
        self._session = session

    def __call__(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Run the graph.

        Args:
            inputs: an array for each input of the contract, by name.

        Returns:
            An array for each output of the contract, by name.

        Raises:
            ContractError: an input is missing, unknown, or of another dtype or shape.
        """
        check_inputs(self.contract, inputs)
        outputs = self.run(
            [np.asarray(inputs[spec.name], order="C") for spec in self.contract.inputs]
        )
        return {
            spec.name: output for spec, output in zip(self.contract.outputs, outputs, strict=True)
        }

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run the graph on contiguous inputs in the order of its contract, unchecked."""
        return self._session.run(self.contract.name, inputs)


def load(
    bundle: str | Path | Bundle,
    backend: str = "onnx",
    precision: Precision = "fp32",
    *,
    providers: Sequence[str] = (),
) -> dict[str, Graph]:
    """Load every graph that a bundle has for one backend and precision.

    Args:
        bundle: the folder, or one that is open already.
        backend: "onnx", "executorch" or "torchscript".
        precision: "fp32", "int8" or "int4".
        providers: execution providers of ONNX Runtime, the first one preferred; else the CPU.

    Returns:
        The graphs by name.

    Raises:
        BundleError: the bundle or an artifact of it is missing, corrupt, foreign or newer.
        BackendError: the backend is unknown, not installed, or has no artifact of that precision
            here; or a provider is not there.
        OptionError: the backend knows no providers.
    """
    require(backend)
    bundle = bundle if isinstance(bundle, Bundle) else Bundle(bundle)
    return {
        name: graph
        for artifact in bundle.artifacts(backend, precision)
        for name, graph in load_artifact(bundle, artifact, providers).items()
    }


def load_artifact(
    bundle: Bundle, artifact: Artifact, providers: Sequence[str] = ()
) -> dict[str, Graph]:
    """Open the graphs of one artifact, by name; for its errors see `load`."""
    path = str(bundle.folder / artifact.path)
    session = open_session(artifact.backend, bundle.read(artifact), path, providers)
    bundle.check_label(artifact, session.label)
    weights = bundle.manifest.weights.sha256
    return {contract.name: Graph(contract, session, weights) for contract in artifact.graphs}


def open_file(path: str | Path) -> Label:
    """Return what a lone artifact tells of itself.

    Raises:
        BundleError: it is no file of a known backend, corrupt, or carries no label.
        BackendError: its backend is not installed.
    """
    path = Path(path)
    for name in BACKENDS:
        if path.suffix == backend(name).SUFFIX:
            if not path.is_file():
                raise BundleError(f"{path}: no such file; expected one that ends in {path.suffix}.")
            return parse_label(open_session(name, path.read_bytes(), str(path)).label, str(path))
    known = ", ".join(backend(name).SUFFIX for name in BACKENDS)
    raise BundleError(f"{path}: expected a bundle folder or a file that ends in {known}.")


def check_kind(graph: Graph, kind: str, name: str) -> None:
    """Raise a ContractError unless this is a graph of a kind; `name` is what to call it."""
    way_out = f"take graphs[{kind!r}] of deploy_bias.runtime.load."
    contract = getattr(graph, "contract", None)
    if contract is None:
        raise ContractError(f"expected a graph, got {type(graph).__name__}; {way_out}")
    if contract.kind != kind:
        raise ContractError(f"graph {contract.name!r} is no {name}; {way_out}")


def check_inputs(contract: GraphContract, inputs: dict[str, np.ndarray]) -> None:
    """Raise a ContractError for the first input that does not fit."""
    expected = {spec.name for spec in contract.inputs}
    for problem, names in (
        ("missing", expected - inputs.keys()),
        ("unknown", inputs.keys() - expected),
    ):
        if names:
            raise ContractError(
                f"graph {contract.name!r}: {problem} input {', '.join(sorted(names))}; "
                f"expected {', '.join(_describe(spec) for spec in contract.inputs)}."
            )
    sizes: dict[str, int] = {}
    for spec in contract.inputs:
        _check_input(contract, spec, inputs[spec.name], sizes)
    query, key = sizes.get("query_length"), sizes.get("key_length")
    if query is not None and key is not None and query > key:
        raise ContractError(
            f"graph {contract.name!r}: query_length {query} is more than key_length {key}; "
            "the queries are the newest of the keys."
        )


def _check_input(
    contract: GraphContract, spec: TensorSpec, value: np.ndarray, sizes: dict[str, int]
) -> None:
    problem = ContractError(
        f"graph {contract.name!r}: input {spec.name} must be a numpy array "
        f"{_describe(spec)}, got {describe(value)}."
    )
    if not isinstance(value, np.ndarray) or value.dtype != spec.dtype:
        raise problem
    if value.ndim != len(spec.shape):
        raise problem
    for size, wanted in zip(value.shape, spec.shape, strict=True):
        if isinstance(wanted, DynamicSize):
            if not wanted.admits(size) or sizes.setdefault(wanted.name, size) != size:
                raise problem
        elif size != wanted:
            raise problem


def _describe(spec: TensorSpec) -> str:
    shape = ", ".join(
        str(size) if isinstance(size, int) else _describe_length(size) for size in spec.shape
    )
    return f"{spec.name} {spec.dtype} ({shape})"


def _describe_length(size: DynamicSize) -> str:
    steps = f" in steps of {size.step}" if size.step > 1 else ""
    return f"{size.name} {size.minimum} to {size.maximum}{steps}"
