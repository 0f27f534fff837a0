"""deploy-bias verify."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from deploy_bias.bundle import PARITY, Bundle
from deploy_bias.cli.console import Debug, Json, out, print_json, stages

if TYPE_CHECKING:
    from export.results import GraphResult, Report


def run(
    bundle: Annotated[Path, typer.Argument(help="A folder that `deploy-bias export` wrote.")],
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Run every artifact against eager float32 and float64; exit with 1 on any mismatch."""
    opened = Bundle(bundle)
    with stages(debug) as progress:
        progress("start torch")
        from deploy_bias.cli.heavy import verify

        report = verify(opened, progress=progress)
    text = report.to_json()
    (bundle / PARITY).write_text(text, encoding="utf-8")
    if as_json:
        print_json(json.loads(text))
    else:
        out.print(parity_table(report))
    if not report.passed:
        raise typer.Exit(1)


def parity_table(report: Report) -> Table:
    """Return one row a graph, backend and precision, and under each failure what failed."""
    table = Table(
        title="Parity with eager",
        caption="error: distance to float64; quantised: to eager, by its root mean square\n"
        "joint argmax: how often the label preferred is eager's",
    )
    for heading in ("graph", "backend"):
        table.add_column(heading, no_wrap=True)
    for heading in ("cases", "error, worst", "over eager's", "joint argmax"):
        table.add_column(heading, justify="right")
    table.add_column("verdict")
    for result in report.results:
        worst, agreement = result.worst, result.agreement
        table.add_row(
            result.graph,
            f"{result.backend} {result.precision}",
            str(len(result.cases) or "-"),
            _error(result),
            "-" if worst is None else f"{worst.error_by_eager:.2f}",
            # Cut and not rounded: 100 % means all.
            "-" if agreement is None else f"{int(agreement.share * 1e4) / 100:.2f}%",
            "[green]pass[/]" if result.passed else "[bold red]FAIL[/]",
        )
        if not result.passed:
            table.add_row(*[""] * 6, f"[red]{result.why}[/]")
    return table


def _error(result: GraphResult) -> str:
    if result.worst is not None:
        return f"{result.worst.error:.1e}"
    return "-" if result.agreement is None else f"{result.agreement.distance:.1%}"
