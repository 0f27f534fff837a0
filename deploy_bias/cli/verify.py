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
    from export.parity import Report


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
    """Return one row a graph and backend, and under each failure what failed."""
    table = Table(title="Parity with eager", caption="errors are distances to float64")
    for heading in (
        "graph",
        "backend",
        "cases",
        "abs error, worst case",
        "over eager's own",
        "verdict",
    ):
        table.add_column(heading, justify="right" if heading[0] in "aco" else "left")
    for result in report.results:
        worst = result.worst
        verdict = "[green]pass[/]" if result.passed else "[bold red]FAIL[/]"
        ratio = "-" if worst is None else f"{worst.error_by_eager:.2f}"
        table.add_row(
            result.graph,
            result.backend,
            str(len(result.cases)),
            "-" if worst is None else f"{worst.error:.1e}",
            ratio,
            verdict,
        )
        if not result.passed:
            table.add_row("", "", "", "", "", f"[red]{result.why}[/]")
    return table
