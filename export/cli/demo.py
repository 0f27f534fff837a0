"""deploy-bias demo."""

from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from deploy_bias.bundle import Bundle
from deploy_bias.cli import transcribe
from deploy_bias.cli.console import Debug, out, stages
from deploy_bias.cli.evaluate import read_manifest
from deploy_bias.errors import DeployBiasError
from deploy_bias.export.cli import export, inspect, verify
from deploy_bias.runtime import Recognizer

LIVE = "digits_2934z.wav"
"""The recording that is played in its own time."""


def run(
    output: Annotated[Path, typer.Option("--output", "-o", help="The bundle to write.")] = Path(
        "digits-bundle"
    ),
    debug: Debug = False,
) -> None:
    """Export, verify and inspect the small ESPnet model in the package, then hear people speak."""
    with as_file(files("deploy_bias").joinpath("data/digits")) as model:
        out.rule("[bold]deploy-bias export")
        export.run(model, output, debug=debug)
        out.rule("[bold]deploy-bias verify")
        verify.run(output, debug=debug)
        out.rule("[bold]deploy-bias inspect")
        picture = output.with_name(f"{output.name}.png")
        inspect.run(output, plot=picture, debug=debug)
        out.rule("[bold]deploy-bias transcribe")
        backends = Bundle(output).manifest.backends
        _hear(output, model / "wavs" / "TRANSCRIPTS.tsv", backends, debug)
        for backend in backends:
            out.rule(f"[bold]deploy-bias transcribe --stream --backend {backend}")
            transcribe.run(output, [model / "wavs" / LIVE], backend, stream=True, debug=debug)
    out.print(
        f"[green]✓[/] {output} runs on ONNX Runtime, ExecuTorch and TorchScript; "
        f"its bias is drawn in {picture}."
    )


def _hear(bundle: Path, manifest: Path, backends: tuple[str, ...], debug: bool) -> None:
    """Recognise recordings of people on every runtime; all must hear the same."""
    recordings = read_manifest(manifest)
    heard: dict[str, list[str]] = {}
    with stages(debug) as progress:
        for backend in backends:
            progress(f"recognise {len(recordings)} recordings on {backend}")
            recognizer = Recognizer(bundle, backend)
            heard[backend] = [
                transcribe.transcribe(recognizer, recording.file).recognition.text
                for recording in recordings
            ]
    table = Table(title="Recordings of people", caption="heard the same on every runtime")
    for heading in ("recording", "said", "heard"):
        table.add_column(heading, overflow="fold")
    for recording, *texts in zip(recordings, *heard.values(), strict=True):
        if len(set(texts)) > 1:
            raise DeployBiasError(f"{recording.file}: the runtimes do not agree: {texts}.")
        table.add_row(recording.file.name, Text(recording.words), Text(texts[0]))
    out.print(table)
