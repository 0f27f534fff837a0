"""deploy-bias demo."""

from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated

import typer

from deploy_bias.cli import export, inspect, verify
from deploy_bias.cli.console import Debug, out


def run(
    output: Annotated[Path, typer.Option("--output", "-o", help="The bundle to write.")] = Path(
        "digits-bundle"
    ),
    debug: Debug = False,
) -> None:
    """Export, verify and inspect the small ESPnet model that ships in the package."""
    out.rule("[bold]deploy-bias export")
    with as_file(files("deploy_bias").joinpath("data/digits")) as model:
        export.run(model, output, debug=debug)
    out.rule("[bold]deploy-bias verify")
    verify.run(output, debug=debug)
    out.rule("[bold]deploy-bias inspect")
    picture = output.with_name(f"{output.name}.png")
    inspect.run(output, plot=picture, debug=debug)
    out.print(
        f"[green]✓[/] {output} runs on ONNX Runtime, ExecuTorch and TorchScript; "
        f"its bias is drawn in {picture}."
    )
