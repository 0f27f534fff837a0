"""Write a bundle: all of it, or nothing."""

import copy
import hashlib
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from safetensors.numpy import save
from torch import Tensor

import deploy_bias
from deploy_bias.bundle import MANIFEST, PARITY, Bundle
from deploy_bias.bundle.contract import Precision
from deploy_bias.bundle.manifest import Artifact, File, Label, Manifest
from deploy_bias.errors import BackendError, BundleError, OptionError, SourceError
from deploy_bias.export.backends import EXPORTERS, Exported, Exporter, LabelOf, exporter
from deploy_bias.export.graph import ExportGraph
from deploy_bias.export.graphs.model import model_graphs, offline_graphs, streaming_notes
from deploy_bias.export.options import ExportOptions
from deploy_bias.export.parity.gate import Gate, one_thread
from deploy_bias.export.parity.results import Mismatch, Report
from deploy_bias.export.parity.vectors import rollout_vectors, vectors_of
from deploy_bias.export.sources import Bias, Source, Vocabulary, read_source
from deploy_bias.export.sources.state_dict import check_finite
from deploy_bias.packages import message
from deploy_bias.runtime.backends import require
from deploy_bias.runtime.proof import check, require_proof

Progress = Callable[[str], None]


@one_thread()  # or the test vectors' last bits would depend on what else the machine does
def export_bundle(
    source: str | Path | Bias | dict[str, Bias] | None,
    output: str | Path,
    options: ExportOptions | None = None,
    *,
    config: Path | None = None,
    checkpoint: Path | None = None,
    progress: Progress = lambda stage: None,
) -> Report:
    """Export a model, prove the result, and write it as a bundle.

    Of an experiment: everything from samples to labels; of all else: its biases.

    Args:
        source: an ESPnet experiment folder, a state_dict file, a bias module, or several by name.
        output: the folder to write; a bundle that is there already is replaced.
        options: what to export, and how.
        config: config.yaml, if it is not in the folder.
        checkpoint: the .pth, if it is not in the folder or the folder holds several.
        progress: called with the name of each stage.

    Returns:
        The parity report, which is in the bundle too.

    Raises:
        SourceError, OptionError, BackendError: what was asked cannot be exported.
        BundleError: the output folder holds something else.
        Mismatch: an exported graph does not compute what the eager module does; nothing is
            written.
    """
    output, options = Path(output).resolve(), options or ExportOptions()
    _check_output(output)
    plan, left_out = options.plan()
    for line in left_out:
        progress(line)
    exporters = {name: exporter(name) for name in plan}
    for name in plan:
        require(name)  # or nothing could be proven, and that is known before the work
    if options.dynamic or options.offline:
        _check_dynamic("--dynamic" if options.dynamic else "--offline", exporters)

    progress("read the checkpoint")
    model = _read(source, config, checkpoint)
    for note in model.notes:
        progress(note)
    if model.whole_alone is not None and not options.offline:
        progress(f"take --offline, for whole utterances: {model.whole_alone}")
        _check_dynamic("--offline, which this model needs", exporters)
        options = options.model_copy(update={"offline": True})
    if not model.parts and set(options.precisions) != {"fp32"}:
        raise OptionError(
            f"--precision {','.join(options.precisions)}: a bias has no linear layers to quantise; "
            "leave --precision out, or give the whole experiment."
        )
    static = model_graphs(model, options)
    for note in streaming_notes(static):
        progress(note)
    flexible = model_graphs(model, options, dynamic=True) if options.dynamic else static
    whole = offline_graphs(model, options) if options.offline else []
    weights = _save(
        {name: tensor for graph in (*whole, *static) for name, tensor in graph.weights().items()}
    )
    versions = _versions(exporters.values())

    def label(precision: Precision) -> LabelOf:
        return lambda graphs: Label(
            exporter=versions,
            weights_sha256=_sha256(weights),
            precision=precision,
            graphs=tuple(graph.contract for graph in graphs),
        )

    with _scratch_beside(output) as scratch:
        folder = Path(scratch) / output.name
        folder.mkdir()
        artifacts = []
        for name, maker in exporters.items():
            graphs = [*whole, *flexible] if maker.DYNAMIC else static
            for precision in plan[name]:
                progress(f"export to {name}, {precision}")
                for exported in maker.export(graphs, precision, label(precision)):
                    artifacts.append(_write_artifact(folder, name, precision, exported))
        progress("write the test vectors")
        vectors = _save(_vectors([*whole, *static], model))
        manifest = Manifest(
            exporter=versions,
            source=model.info,
            options=options.model_dump(mode="json", exclude_defaults=True),
            weights=_write(folder, "weights.safetensors", weights),
            vectors=_write(folder, "vectors.safetensors", vectors),
            **_write_tokens(folder, model.vocabulary),
            artifacts=tuple(artifacts),
        )
        _write_manifest(folder, manifest)
        gate = Gate(Bundle(folder))
        report = gate.report(tuple(exporters), progress)
        if not report.passed:
            raise Mismatch(report)
        (folder / PARITY).write_text(report.to_json(), encoding="utf-8")
        limits = _write(folder, "limits.safetensors", _save(gate.limits()))
        _write_manifest(folder, manifest.model_copy(update={"limits": limits}))
        _check_quantized(Bundle(folder), progress)
        _replace(folder, output, Path(scratch))
    return report


def _check_dynamic(wish: str, exporters: Mapping[str, Exporter]) -> None:
    """Raise an OptionError unless a backend takes dynamic lengths."""
    if not any(maker.DYNAMIC for maker in exporters.values()):
        able = ", ".join(name for name in EXPORTERS if exporter(name).DYNAMIC)
        raise OptionError(f"{wish}: none of {', '.join(exporters)} can; add --backend {able}.")


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
    kind = type(next(iter(copies.values()))).__name__
    return Source(kind, {"module": kind}, biases=copies)


def _save(tensors: Mapping[str, Tensor]) -> bytes:
    return save({name: tensor.numpy().copy() for name, tensor in tensors.items()})


def _versions(exporters: Iterable[Exporter]) -> dict[str, str]:
    packages = {package for maker in exporters for package in maker.VERSIONS}
    try:
        found = {package: version(package) for package in sorted(packages)}
    except PackageNotFoundError as error:
        raise BackendError(message(str(error.name), "export", error)) from error
    return {"deploy_bias": deploy_bias.__version__, **found}


def _write_artifact(
    folder: Path, backend_name: str, precision: Precision, exported: Exported
) -> Artifact:
    return Artifact(
        **_write(folder, exported.path, exported.data).model_dump(),
        backend=backend_name,
        precision=precision,
        graphs=tuple(graph.contract for graph in exported.graphs),
        operators=exported.operators,
    )


def _vectors(graphs: Sequence[ExportGraph], model: Source) -> dict[str, Tensor]:
    vectors = {name: tensor for graph in graphs for name, tensor in vectors_of(graph).items()}
    if model.frames:
        by_name = {graph.contract.name: graph for graph in graphs}
        vectors |= rollout_vectors(by_name["decoder"], by_name["joint"], model.frames)
    return vectors


def _check_quantized(bundle: Bundle, progress: Progress) -> None:
    """Check what the gate judged on other cases than those that are stored.

    Raises:
        MismatchError: a quantised graph is further off on these.
    """
    for name in bundle.manifest.backends:
        kinds = [kind for kind in bundle.manifest.precisions(name) if kind != "fp32"]
        if kinds:
            require_proof(check(bundle, [name], kinds, progress=progress))


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    text = manifest.model_dump_json(indent=1) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def _write_tokens(folder: Path, vocabulary: Vocabulary | None) -> dict[str, Any]:
    """Write tokens.txt as the field has it: a token and its number in each line.

    Returns:
        The fields of the manifest about tokens.
    """
    if vocabulary is None:
        return {}
    lines = [f"{token} {number}\n" for number, token in enumerate(vocabulary.tokens)]
    model = vocabulary.bpe_model
    known = vocabulary.token_type in ("bpe", "char", "word", "phn")
    return {
        "tokens": _write(folder, "tokens.txt", "".join(lines).encode()),
        "token_type": vocabulary.token_type if known else None,
        "bpe_model": None if model is None else _write(folder, "bpe.model", model),
    }


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
    files = {MANIFEST, PARITY, *(file.path for file in manifest.files)}
    foreign = sorted(path.name for path in output.iterdir() if path.name not in files)
    if foreign:
        raise BundleError(
            f"{output}: holds more than the bundle that it would replace: {', '.join(foreign)}; "
            "move that away or choose another folder."
        )


def _scratch_beside(output: Path) -> tempfile.TemporaryDirectory[str]:
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix=f".{output.name}-", dir=output.parent)
    except OSError as error:
        raise BundleError(
            f"{output}: cannot write to {output.parent} ({error.strerror}); choose another folder."
        ) from error


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
