"""Whether a bundle is right on the machine that runs it. Needs numpy and a backend, no torch.

report = check("digits-bundle")
print(report.passed, report.machine)

Each graph runs on the stored cases, rollouts with state among them, and is compared with what
eager computed when the bundle was made. What is allowed stands in the bundle (limits.safetensors):
in fp32 a distance for each element; quantised, a root mean square distance for each output. Then
the labels that the decoder and the joint network prefer along the stored utterances are compared
with eager's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from deploy_bias.bundle import Bundle
from deploy_bias.bundle.contract import Precision
from deploy_bias.errors import BackendError, BundleError, MismatchError, OptionError
from deploy_bias.runtime.backends import BACKENDS, backend, require, unmet
from deploy_bias.runtime.graph import Graph, load_artifact
from deploy_bias.runtime.proof.expected import Expected
from deploy_bias.runtime.proof.machine import this_machine
from deploy_bias.runtime.proof.report import ProofReport, ProofRow


def check(
    bundle: str | Path | Bundle,
    backends: Sequence[str] = (),
    precisions: Sequence[Precision] = (),
    providers: Sequence[str] = (),
    progress: Callable[[str], None] = lambda stage: None,
) -> ProofReport:
    """Run the graphs of a bundle here and compare them with what eager computed.

    Args:
        bundle: the folder, or one that is open already.
        backends: to check; if none is named, those of the bundle that are installed.
        precisions: to check; if none is named, all.
        providers: execution providers of ONNX Runtime, the first one preferred.
        progress: called with the name of each stage.

    Returns:
        A row for each graph. An artifact that does not load is a row that did not pass.

    Raises:
        BundleError: the bundle, its vectors or its limits are missing or corrupt.
        BackendError: a backend, precision or provider is not there; or none is.
        OptionError: providers are named, and no backend takes them.
    """
    bundle = bundle if isinstance(bundle, Bundle) else Bundle(bundle)
    names, left_out = _backends(bundle, backends)
    takers = [name for name in names if backend(name).providers()]
    if providers and not takers:
        raise OptionError(
            f"providers {', '.join(providers)}: {', '.join(names)} knows none; "
            "add the backend onnx."
        )
    expected = Expected(bundle)
    rows: list[ProofRow] = []
    for name in names:
        has = bundle.manifest.precisions(name)
        for precision in precisions or has:
            if (
                precision not in has
                and not backends
                and any(precision in bundle.manifest.precisions(other) for other in names)
            ):
                continue  # another backend has it
            progress(f"check {name}, {precision}")
            rows += _check(bundle, expected, name, precision, providers if name in takers else ())
    return _report(bundle, expected, rows, names, providers, left_out)


def prove(
    bundle: Bundle,
    graphs: Mapping[str, Graph],
    backend: str,
    precision: Precision,
    providers: Sequence[str] = (),
) -> ProofReport:
    """Check graphs that are loaded already; see `check`."""
    expected = Expected(bundle)
    rows = list(expected.rows(graphs, backend, precision))
    return _report(bundle, expected, rows, [backend], providers, {})


def require_proof(report: ProofReport) -> None:
    """Raise a MismatchError unless a report passed."""
    if not report.passed:
        raise MismatchError(f"{report.why}. Take another provider, precision, backend or version.")


def _backends(bundle: Bundle, wanted: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return the backends to check, and those that are left out, with the reason."""
    for name in wanted:
        require(name)
        if name not in bundle.manifest.backends:
            bundle.artifacts(name)  # says what the bundle has
    if wanted:
        return list(wanted), {}
    known = [name for name in bundle.manifest.backends if name in BACKENDS]
    left_out = {name: why for name in known if (why := unmet(name))}
    names = [name for name in known if name not in left_out]
    if not names:
        raise BackendError(" ".join(left_out.values()) or f"{bundle.folder}: no known backend.")
    return names, left_out


def _check(
    bundle: Bundle,
    expected: Expected,
    name: str,
    precision: Precision,
    providers: Sequence[str],
) -> Iterator[ProofRow]:
    graphs: dict[str, Graph] = {}
    for artifact in bundle.artifacts(name, precision):
        try:
            graphs |= load_artifact(bundle, artifact, providers)
        except BundleError as error:
            for contract in artifact.graphs:
                yield ProofRow(
                    contract.name, name, precision, "elements", 0, None, None, problem=str(error)
                )
    yield from expected.rows(graphs, name, precision)


def _report(
    bundle: Bundle,
    expected: Expected,
    rows: Sequence[ProofRow],
    names: Sequence[str],
    providers: Sequence[str],
    left_out: dict[str, str],
) -> ProofReport:
    manifest = bundle.manifest
    return ProofReport(
        rows=tuple(rows),
        machine=this_machine(),
        runtimes={name: version(backend(name).PACKAGE) for name in names},
        providers=tuple(providers),
        exporter=manifest.exporter,
        weights_sha256=manifest.weights.sha256,
        left_out=left_out,
    )
