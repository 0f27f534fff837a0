"""Write a bundle: all of it, or nothing."""

import copy
import hashlib
import tempfile
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from safetensors.numpy import save

import deploy_bias
from deploy_bias.bundle import MANIFEST, PARITY, Bundle
from deploy_bias.contract import Artifact, File, Label, Manifest
from deploy_bias.errors import BackendError, BundleError, OptionError, SourceError
from export.backends import Backend, Exported, backend, backends
from export.cases import score_cases
from export.checkpoint import Bias, Source, check_finite, read_source
from export.graphs import Graph, bias_graphs
from export.parity import Mismatch, Report, verify
from export.reference import eager_float32

Progress = Callable[[str], None]

STORED_CASES = ("real", "normal")
"""The cases whose inputs and outputs are stored as test vectors for other languages."""


def export_bundle(
    source: str | Path | Bias | dict[str, Bias] | None,
    output: str | Path,
    *,
    config: Path | None = None,
    checkpoint: Path | None = None,
    backends_wanted: Sequence[str] | None = None,
    query_length: int | None = None,
    key_length: int | None = None,
    batch: int = 1,
    dynamic: bool = False,
    progress: Progress = lambda stage: None,
) -> Report:
    """Export every bias of a model, prove the result, and write it as a bundle.

    Args:
        source: an ESPnet experiment folder, a state_dict file, a bias module, or several by name.
        output: the folder to write; a bundle that is there already is replaced.
        config: config.yaml, if it is not in the folder.
        checkpoint: the .pth, if it is not in the folder or the folder holds several.
        backends_wanted: names of backends; default all.
        query_length: rows of the scores; default key_length.
        key_length: columns of the scores; default 256 or max_positions, whichever is less.
        batch: the first dimension of the scores.
        dynamic: ONNX takes any length up to max_positions.
        progress: called with the name of each stage.

    Returns:
        The parity report, which is in the bundle too.

    Raises:
        SourceError, OptionError, BackendError: what was asked cannot be exported.
        BundleError: the output folder holds something else.
        Mismatch: an exported graph does not compute what the eager module does; nothing is
            written.
    """
    output = Path(output).resolve()
    _check_output(output)
    names = list(dict.fromkeys(backends_wanted)) if backends_wanted else list(backends())
    exporters = {name: backend(name) for name in names}
    if dynamic and not any(exporter.DYNAMIC for exporter in exporters.values()):
        able = ", ".join(name for name, exporter in backends().items() if exporter.DYNAMIC)
        raise OptionError(f"--dynamic: none of {', '.join(names)} can; add --backend {able}.")

    progress("read the checkpoint")
    found = _read(source, config, checkpoint)
    static = bias_graphs(found.modules, query_length, key_length, batch)
    flexible = bias_graphs(found.modules, query_length, key_length, batch, dynamic=True)
    weights = _weights(found.modules)
    versions = _versions(exporters.values())

    def label(graphs: Sequence[Graph]) -> Label:
        return Label(
            exporter=versions,
            weights_sha256=_sha256(weights),
            graphs=tuple(graph.contract for graph in graphs),
        )

    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BundleError(
            f"{output}: cannot make its folder ({error.strerror}); choose another."
        ) from error
    with tempfile.TemporaryDirectory(prefix=f".{output.name}-", dir=output.parent) as scratch:
        folder = Path(scratch) / output.name
        folder.mkdir()
        artifacts = []
        for name, exporter in exporters.items():
            progress(f"export to {name}")
            graphs = flexible if dynamic and exporter.DYNAMIC else static
            for exported in exporter.export(graphs, label):
                artifacts.append(_write_artifact(folder, name, exported))
        progress("write the test vectors")
        manifest = Manifest(
            exporter=versions,
            source=found.info,
            weights=_write(folder, "weights.safetensors", weights),
            vectors=_write(folder, "vectors.safetensors", _vectors(static)),
            artifacts=tuple(artifacts),
        )
        text = manifest.model_dump_json(indent=1) + "\n"
        (folder / MANIFEST).write_text(text, encoding="utf-8")
        report = verify(Bundle(folder), progress=progress)
        if not report.passed:
            raise Mismatch(report)
        (folder / PARITY).write_text(report.to_json(), encoding="utf-8")
        _replace(folder, output, Path(scratch))
    return report


def _read(
    source: str | Path | Bias | dict[str, Bias] | None, config: Path | None, checkpoint: Path | None
) -> Source:
    if source is None or isinstance(source, str | Path):
        return read_source(None if source is None else Path(source), config, checkpoint)
    modules = source if isinstance(source, dict) else {"": source}
    for module in modules.values():
        if not isinstance(module, Bias):
            raise SourceError(
                f"{type(module).__name__} is no bias module; expected RelativePositionBias or "
                "RotaryRelativePositionBias of deploy_bias (load ESPnet's state_dict into one)."
            )
    if not modules:
        raise SourceError("no bias module given; name at least one.")
    if any(parameter.is_meta for module in modules.values() for parameter in module.parameters()):
        raise SourceError("a module on the meta device has no weights; load them first.")
    # The graphs are float32 and must not change when the caller trains on.
    copies = {name: copy.deepcopy(module).float().cpu().eval() for name, module in modules.items()}
    for name, module in copies.items():
        for leaf, parameter in module.named_parameters():
            check_finite(parameter, f"{name}.{leaf}".lstrip("."))
    return Source(copies, {"module": type(next(iter(copies.values()))).__name__})


def _weights(modules: dict[str, Bias]) -> bytes:
    return save(
        {
            f"{prefix}.{leaf}".lstrip("."): parameter.detach().numpy().copy()
            for prefix, module in modules.items()
            for leaf, parameter in module.named_parameters()
        }
    )


def _vectors(graphs: Sequence[Graph]) -> bytes:
    tensors: dict[str, np.ndarray] = {}
    for graph in graphs:
        shape = (graph.batch, graph.query_length, graph.key_length)
        for name in STORED_CASES:
            scores = score_cases()[name](shape)
            key = f"{graph.contract.name}/{name}"
            tensors[f"{key}/scores"] = scores.numpy()
            tensors[f"{key}/biased_scores"] = eager_float32(graph.bias, scores).numpy()
    return save(tensors)


def _versions(exporters: Iterable[Backend]) -> dict[str, str]:
    packages = {package for exporter in exporters for package in exporter.VERSIONS}
    try:
        found = {package: version(package) for package in sorted(packages)}
    except PackageNotFoundError as error:
        raise BackendError(
            f"export needs {error.name}, which is not installed: pip install 'deploy-bias[export]'."
        ) from error
    return {"deploy_bias": deploy_bias.__version__, **found}


def _write_artifact(folder: Path, backend_name: str, exported: Exported) -> Artifact:
    return Artifact(
        **_write(folder, exported.path, exported.data).model_dump(),
        backend=backend_name,
        graphs=tuple(graph.contract for graph in exported.graphs),
        operators=exported.operators,
    )


def _write(folder: Path, path: str, data: bytes) -> File:
    (folder / path).write_bytes(data)
    return File(path=path, sha256=_sha256(data), bytes=len(data))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _check_output(output: Path) -> None:
    """Only a bundle is replaced, and only one that holds nothing else."""
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if not (output / MANIFEST).is_file():
        raise BundleError(f"{output}: exists and is not a bundle; choose another folder.")
    manifest = Bundle(output).manifest
    files = {MANIFEST, PARITY, manifest.weights.path, manifest.vectors.path}
    files |= {artifact.path for artifact in manifest.artifacts}
    foreign = sorted(path.name for path in output.iterdir() if path.name not in files)
    if foreign:
        raise BundleError(
            f"{output}: holds more than the bundle that it would replace: {', '.join(foreign)}; "
            "move that away or choose another folder."
        )


def _replace(folder: Path, output: Path, scratch: Path) -> None:
    old = scratch / "old"
    if output.exists():
        output.rename(old)
    try:
        folder.rename(output)
    except OSError:
        if old.exists():
            old.rename(output)
        raise
