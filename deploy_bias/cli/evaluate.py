"""deploy-bias evaluate."""

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

from deploy_bias.bundle import Bundle
from deploy_bias.bundle.contract import Precision
from deploy_bias.bundle.manifest import Manifest
from deploy_bias.cli.console import Debug, Json, names, print_json, print_table, report, stages
from deploy_bias.cli.recordings import Recording, count_errors, read_manifest, readable
from deploy_bias.cli.transcript import transcribe
from deploy_bias.errors import BackendError, OptionError, SourceError
from deploy_bias.files import check_writable
from deploy_bias.packages import needed
from deploy_bias.runtime import open_recognizer
from deploy_bias.runtime.recognizer.base import LEAD_IN

PERCENTILES = (50, 90, 99)


def run(
    bundle: Annotated[Path, typer.Argument(help="A folder that `deploy-bias export` wrote.")],
    manifest: Annotated[
        Path, typer.Argument(help="Lines of an audio file, a tab and the words that it says.")
    ],
    backend: Annotated[
        list[str] | None,
        typer.Option(help="Comma-separated: torchscript, onnx, executorch. [default: all there]"),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(help="Comma-separated: fp32, int8, int4, auto. [default: all there]"),
    ] = None,
    lead_in: Annotated[
        int, typer.Option(help="Milliseconds of silence before each recording; ESPnet's 0.", min=0)
    ] = round(1000 * LEAD_IN),
    normalize: Annotated[
        bool,
        typer.Option(
            "--normalize",
            help="Compare in lower case and without punctuation, by jiwer's ToLowerCase and "
            "RemovePunctuation.",
        ),
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw the figures to this .png.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure word errors, speed and latency of each backend and precision on recordings."""
    given = read_manifest(manifest)
    opened = Bundle(bundle)
    chosen = _choose(opened.manifest, names(backend), names(precision))
    if plot is not None:
        check_plot(plot)
    measured: list[Measured] = []
    interrupted = False
    with stages(debug) as progress:
        progress(f"read {len(given)} recordings")
        recordings, reports = readable(given)
        try:
            for name, kind in chosen if recordings else ():
                progress(f"recognise {len(recordings)} recordings on {name}, {kind}")
                measured.append(_measure(opened, recordings, name, kind, lead_in / 1000, normalize))
        except KeyboardInterrupt:
            interrupted = True
        if plot is not None and measured:
            progress(f"draw {plot}")
            _plot(measured, plot)
    for line in reports:
        report(*line)
    if not recordings:
        raise SourceError("no recording of the manifest can be read.")
    if as_json:
        print_json({"bundle": str(bundle), "results": [result.content() for result in measured]})
    elif measured:
        print_table(_table(measured))
    if interrupted:
        report("error", f"interrupted after {len(measured)} of {len(chosen)} measurements.")
        raise typer.Exit(128 + signal.SIGINT)
    if len(recordings) < len(given):
        left = len(given) - len(recordings)
        report("error", f"{left} of {len(given)} recordings left out")
        raise typer.Exit(2)


@dataclass(frozen=True)
class Measured:
    """One backend and precision.

    words: how many there are. seconds: of audio. computed: seconds that it took. latencies:
    seconds that each decoding window took, or offline each utterance. texts: by recording.
    """

    backend: str
    precision: Precision
    words: int
    substitutions: int
    deletions: int
    insertions: int
    seconds: float
    computed: float
    latencies: tuple[float, ...]
    texts: tuple[str, ...]

    @property
    def word_error_rate(self) -> float | None:
        """Errors for each word that there is; None if there is none."""
        errors = self.substitutions + self.deletions + self.insertions
        return errors / self.words if self.words else None

    @property
    def real_time_factor(self) -> float:
        """Seconds of computation for a second of audio."""
        return self.computed / self.seconds

    @property
    def latency_ms(self) -> dict[str, float]:
        """Percentiles of the milliseconds that `latencies` are, by name."""
        found = np.percentile(self.latencies, PERCENTILES) * 1000
        return {f"p{p}": float(ms) for p, ms in zip(PERCENTILES, found, strict=True)}

    def content(self) -> dict[str, Any]:
        """Return it for a program."""
        fields = ("backend", "precision", "word_error_rate", "words", "substitutions", "deletions")
        more = ("insertions", "seconds", "real_time_factor", "latency_ms", "texts")
        return {name: getattr(self, name) for name in (*fields, *more)}


def _choose(
    manifest: Manifest, backends: Sequence[str], precisions: Sequence[str]
) -> list[tuple[str, Precision]]:
    """Return what the bundle has of the backends and precisions asked for.

    A backend that was not asked for by its name is left out if the bundle has no encoder for it.
    """
    hearing = {
        artifact.backend
        for artifact in manifest.artifacts
        for graph in artifact.graphs
        if graph.kind in ("encoder", "offline_encoder")
    }
    there = [(name, kind) for name in manifest.backends for kind in manifest.precisions(name)]
    for asked, has in ((backends, {n for n, _ in there}), (precisions, {k for _, k in there})):
        absent = [name for name in asked if name not in has]
        if absent:
            raise BackendError(
                f"the bundle has no artifact for {absent[0]!r}, it has {', '.join(sorted(has))}."
            )
    chosen = [
        (name, kind)
        for name, kind in there
        if name in (backends or hearing or [name]) and kind in (precisions or [kind])
    ]
    if not chosen:
        raise BackendError(
            f"the bundle has no {', '.join(precisions)} for {', '.join(backends)}; it has "
            f"{', '.join(f'{name} {kind}' for name, kind in there)}."
        )
    return chosen


def _measure(
    bundle: Bundle,
    recordings: Sequence[Recording],
    backend: str,
    precision: Precision,
    lead_in: float,
    normalize: bool,
) -> Measured:
    recognizer = open_recognizer(bundle, backend, precision=precision, lead_in=lead_in)
    # A runtime's first calls prepare it, and are not what a stream waits for.
    recognizer.decode(np.zeros(3 * recognizer.sample_rate, np.float32), recognizer.sample_rate)
    latencies: list[float] = []
    found = [
        transcribe(recognizer, recording.file, latencies=latencies) for recording in recordings
    ]
    if not sum(transcript.seconds for transcript in found):
        raise SourceError("the recordings of the manifest hold no audio at all.")
    texts = [transcript.recognition.text for transcript in found]
    words = [recording.words for recording in recordings]
    counted = count_errors(words, texts, normalize)
    return Measured(
        backend,
        precision,
        words=counted.words,
        substitutions=counted.substitutions,
        deletions=counted.deletions,
        insertions=counted.insertions,
        seconds=sum(transcript.seconds for transcript in found),
        computed=sum(transcript.computed for transcript in found),
        latencies=tuple(latencies),
        texts=tuple(texts),
    )


def _table(measured: Sequence[Measured]) -> Table:
    first = measured[0]
    table = Table(
        title=f"Recognition of {first.words} words, {first.seconds:.1f} s of audio",
        caption="WER: word error rate by substitutions, deletions and insertions; RTF: seconds for "
        "a second of audio; latency: ms for a decoding window (offline: for a recording)",
    )
    for heading in ("backend", "precision"):
        table.add_column(heading)
    for heading in ("WER", "S", "D", "I", "RTF", *first.latency_ms):
        table.add_column(heading, justify="right")
    for result in measured:
        table.add_row(
            result.backend,
            result.precision,
            "-" if result.word_error_rate is None else f"{result.word_error_rate:.1%}",
            *(str(n) for n in (result.substitutions, result.deletions, result.insertions)),
            f"{result.real_time_factor:.3f}",
            *(f"{ms:.1f}" for ms in result.latency_ms.values()),
        )
    return table


def check_plot(path: Path) -> None:
    """See that --plot can be drawn and written, before the work.

    Raises:
        OptionError: it ends in nothing that can be drawn, or its folder cannot be written.
        BackendError: matplotlib is not installed.
    """
    with needed("matplotlib", "--plot"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg

    if path.suffix[1:] not in FigureCanvasAgg.get_supported_filetypes():
        raise OptionError(f"--plot: {path}: cannot draw to {path.suffix!r}; end it in .png.")
    check_writable(path, "--plot")


def _plot(measured: Sequence[Measured], path: Path) -> None:
    """Draw word errors, real-time factor and latencies side by side."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (words, speed, wait) = pyplot.subplots(1, 3, figsize=(12, 4), layout="constrained")
    labels = [f"{result.backend}\n{result.precision}" for result in measured]
    places = np.arange(len(measured))
    below = np.zeros(len(measured))
    for kind in ("substitutions", "deletions", "insertions"):
        share = np.array(
            [100 * getattr(result, kind) / max(1, result.words) for result in measured]
        )
        words.bar(places, share, 0.6, below, label=kind)
        below += share
    words.set(title="word errors", ylabel="% of the words")
    words.legend()
    speed.bar(places, [result.real_time_factor for result in measured], 0.6)
    speed.set(title="real-time factor", ylabel="seconds for a second of audio")
    for number, name in enumerate(measured[0].latency_ms):
        heights = [result.latency_ms[name] for result in measured]
        wait.bar(places + (number - 1) * 0.25, heights, 0.25, label=name)
    wait.set(title="latency", ylabel="ms for a decoding window (offline: a recording)")
    wait.legend()
    for axes in (words, speed, wait):
        axes.set_xticks(places, labels)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
