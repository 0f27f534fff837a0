"""deploy-bias testdata."""

from pathlib import Path
from typing import Annotated

import typer

from deploy_bias.bundle import Bundle
from deploy_bias.cli.console import Debug, out, size, stages


def run(
    bundle: Annotated[Path, typer.Argument(help="A folder that `deploy-bias export` wrote.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")] = Path(
        "testdata"
    ),
    debug: Debug = False,
) -> None:
    """Write test data for other runners: ONNX test data sets and ExecuTorch's .bpte."""
    opened = Bundle(bundle)
    with stages(debug) as progress:
        progress("start torch")
        from deploy_bias.export import write_test_data

        files = write_test_data(opened, output, progress=progress)
    total = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
    out.print(f"[green]✓[/] {output}: {', '.join(files)}; {size(total)} in all")
