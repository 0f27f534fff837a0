"""deploy-bias demo."""

from __future__ import annotations

import importlib
import time
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from deploy_bias.bundle import Bundle
from deploy_bias.cli.console import Debug, Json, out, print_json, print_table, size, stages
from deploy_bias.cli.recordings import read_manifest
from deploy_bias.cli.transcript import transcribe
from deploy_bias.errors import DeployBiasError
from deploy_bias.packages import needed
from deploy_bias.runtime import Recognizer
from deploy_bias.runtime.backends import BACKENDS, unmet

if TYPE_CHECKING:
    from deploy_bias.export.parity.results import Report

RECORDINGS = ("digits_2934z.wav", "digits_55.wav", "prompts_0.wav", "prompts_5.wav")
"""Two of a person who speaks on, and two that are joined of single digits."""
NEXT = """\
Next:
  deploy-bias transcribe {bundle} YOUR.wav  # digits
  deploy-bias inspect {bundle}              # what runs where
  deploy-bias export exp/YOUR_MODEL -o my-bundle"""


def run(
    output: Annotated[Path, typer.Option("--output", "-o", help="The bundle to write.")] = Path(
        "digits-bundle"
    ),
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Export, prove and draw the small ESPnet model in the package, then hear people speak."""
    begun = time.perf_counter()
    for package, work in (("av", "reading the recordings"), ("matplotlib", "the picture")):
        with needed(package, work):  # and not after minutes of it
            importlib.import_module(package)
    left_out = {name: why for name in BACKENDS if (why := unmet(name))}
    backends = [name for name in BACKENDS if name not in left_out]
    picture = output.with_name(f"{output.name}.png")
    digits = files("deploy_bias").joinpath("data/digits")
    with as_file(digits) as model, stages(debug, transient=True) as progress:
        progress("start torch")
        from deploy_bias.export import ExportOptions, export_bundle, plot_biases
        from deploy_bias.export.parity.judge import BUDGET

        report = export_bundle(model, output, ExportOptions(backends=backends), progress=progress)
        progress(f"draw {picture}")
        plot_biases(Bundle(output), picture)
        heard = []
        for recording in read_manifest(model / "wavs" / "TRANSCRIPTS.tsv"):
            if recording.file.name in RECORDINGS:
                progress(f"listen to {recording.file.name}")
                text = _hear(output, recording.file, backends)
                heard.append((recording.file.name, recording.words, text))
    seconds = time.perf_counter() - begun
    if as_json:
        print_json(
            {
                "bundle": str(output),
                "picture": str(picture),
                "seconds": seconds,
                "left_out": left_out,
                "parity": report.to_dict(),
                "recordings": [
                    {"file": name, "said": said, "heard": text} for name, said, text in heard
                ],
            }
        )
        return
    total = size(sum(file.bytes for file in Bundle(output).manifest.files))
    out.print(
        f"[green]✓[/] {output}: {total}, an ESPnet transducer exported and proven "
        f"in {seconds:.0f} s"
    )
    for why in left_out.values():
        out.print(Text(f"! left out: {why}", style="yellow"))
    print_table(_parity(report, backends))
    out.print(
        "(largest error against float64, as a multiple of eager float32's own; "
        f"up to {BUDGET:g} is rounding)"
    )
    out.print(f"[green]✓[/] its bias is drawn in {picture}", soft_wrap=True)
    out.print(f"[green]✓[/] people, the same on {', '.join(backends)}:")
    width = max(len(said) for _, said, _ in heard)
    for _, said, text in heard:
        mark = "[green]✓[/]" if said == text else "[red]✗[/]"
        out.print(f"  said {said:<{width}}  heard {text} {mark}")
    out.print(NEXT.format(bundle=output), markup=False, highlight=False, soft_wrap=True)


def _hear(bundle: Path, recording: Path, backends: list[str]) -> str:
    """Recognise a recording on every runtime.

    Raises:
        DeployBiasError: they do not hear the same.
    """
    texts = {
        name: transcribe(Recognizer(bundle, name), recording).recognition.text for name in backends
    }
    if len(set(texts.values())) > 1:
        raise DeployBiasError(f"{recording}: the runtimes do not agree: {texts}.")
    return next(iter(texts.values()))


def _parity(report: Report, backends: list[str]) -> Table:
    """Return the error of each graph on each backend, in units of eager float32's own."""
    table = Table()
    table.add_column("graph")
    for name in backends:
        table.add_column(name, justify="right")
    cells = {
        (result.graph, result.backend): result.worst.error_by_eager
        for result in report.results
        if result.worst is not None
    }
    for graph in dict.fromkeys(graph for graph, _ in cells):
        table.add_row(graph, *(f"{cells[graph, name]:.2f}" for name in backends))
    return table
