"""Write a bundle: all of it, or nothing."""

import copy
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from deploy_bias.bundle import MANIFEST, PARITY, Bundle
from deploy_bias.errors import BundleError, OptionError, SourceError
from deploy_bias.export.backends import EXPORTERS, Exporter, exporter
from deploy_bias.export.graphs.model import streaming_notes
from deploy_bias.export.mixed import choose_float_layers
from deploy_bias.export.options import ExportOptions
from deploy_bias.export.parity.gate import Gate, one_thread
from deploy_bias.export.parity.results import Mismatch, Report
from deploy_bias.export.recordings import read_utterances
from deploy_bias.export.sources import Bias, Source, read_source
from deploy_bias.export.sources.language_model import with_language_model
from deploy_bias.export.sources.state_dict import check_finite
from deploy_bias.export.writer import BundleWriter, write_manifest, write_tensors
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
    recordings: Path | None = None,
    lm: Path | None = None,
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
        recordings: lines of a file, a tab and its words, on which the precision "auto" counts
            word errors; without them, labels.
        lm: the experiment folder of a language model of the same tokens.
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
    if options.dynamic:
        _check_able("--dynamic", exporters, lambda maker: maker.DYNAMIC)
    if options.offline:
        _check_able("--offline", exporters, lambda maker: maker.OFFLINE)

    progress("read the checkpoint")
    model = _read(source, config, checkpoint)
    if lm is not None:
        model = with_language_model(model, lm)
    for note in model.notes:
        progress(note)
    if model.whole_alone is not None and not options.offline:
        progress(f"take --offline, for whole utterances: {model.whole_alone}")
        _check_able("--offline, which this model needs", exporters, lambda maker: maker.OFFLINE)
        options = options.model_copy(update={"offline": True})
    auto = any("auto" in precisions for precisions in plan.values())
    if recordings is not None and not auto:
        raise OptionError("--recordings: only --precision auto counts words; add it.")
    utterances = [] if recordings is None else read_utterances(recordings)
    if not model.parts and set(options.precisions) != {"fp32"}:
        raise OptionError(
            f"--precision {','.join(options.precisions)}: a bias has no linear layers to quantise; "
            "leave --precision out, or give the whole experiment."
        )
    writer = BundleWriter(model, options, exporters, progress)
    for note in streaming_notes(writer.static):
        progress(note)
    with _scratch_beside(output) as scratch:
        folder = Path(scratch) / output.name
        if auto:
            trial = Path(scratch) / "trial"
            writer.write(trial, {next(name for name in plan if "auto" in plan[name]): ["auto"]})
            graphs = [*writer.whole, *writer.static]
            wanted = (utterances, options.max_wer_loss, progress)
            writer.keep_in_float32(choose_float_layers(Bundle(trial), graphs, *wanted))
        manifest = writer.write(folder, plan)
        gate = Gate(Bundle(folder))
        report = gate.report(tuple(exporters), progress)
        if not report.passed:
            raise Mismatch(report)
        (folder / PARITY).write_text(report.to_json(), encoding="utf-8")
        limits = write_tensors(folder, "limits.safetensors", gate.limits())
        write_manifest(folder, manifest.model_copy(update={"limits": limits}))
        _check_quantized(Bundle(folder), progress)
        _replace(folder, output, Path(scratch))
    return report


def _check_able(
    wish: str, exporters: Mapping[str, Exporter], able: Callable[[Exporter], bool]
) -> None:
    """Raise an OptionError unless one of the backends is able."""
    if not any(map(able, exporters.values())):
        others = " or ".join(name for name in EXPORTERS if able(exporter(name)))
        raise OptionError(f"{wish}: none of {', '.join(exporters)} can; add --backend {others}.")


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


def _check_quantized(bundle: Bundle, progress: Progress) -> None:
    """Check what the gate judged on other cases than those that are stored.

    Raises:
        MismatchError: a quantised graph is further off on these.
    """
    for name in bundle.manifest.backends:
        kinds = [kind for kind in bundle.manifest.precisions(name) if kind != "fp32"]
        if kinds:
            require_proof(check(bundle, [name], kinds, progress=progress))


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
