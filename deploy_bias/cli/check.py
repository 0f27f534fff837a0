"""deploy-bias check."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer
from rich.table import Table
from rich.text import Text

from deploy_bias.bundle.contract import Precision
from deploy_bias.cli.console import (
    Debug,
    Json,
    Provider,
    names,
    out,
    print_json,
    print_table,
    stages,
)
from deploy_bias.errors import OptionError

if TYPE_CHECKING:
    from deploy_bias.runtime.proof.report import ProofReport, ProofRow


def run(
    bundle: Annotated[Path, typer.Argument(help="A folder that `deploy-bias export` wrote.")],
    backend: Annotated[
        list[str] | None,
        typer.Option(help="Comma-separated; if left out, those of the bundle that run here."),
    ] = None,
    precision: Annotated[
        list[str] | None, typer.Option(help="Comma-separated; if left out, all of the bundle.")
    ] = None,
    provider: Provider = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Run the stored cases on this machine against what eager computed; exit with 1 if wrong."""
    with stages(debug) as progress:
        from deploy_bias.runtime.proof import check

        report = check(
            bundle, names(backend), precisions(precision), names(provider), progress=progress
        )
    if as_json:
        print_json(report.to_dict())
    else:
        _print(report)
    if not report.passed:
        raise typer.Exit(1)


def precisions(texts: list[str] | None) -> list[Precision]:
    """Return the precisions of comma-separated options.

    Raises:
        OptionError: there is no such precision.
    """
    known: dict[str, Precision] = {name: name for name in get_args(Precision)}
    for name in names(texts):
        if name not in known:
            raise OptionError(f"--precision {name}: unknown; choose from {', '.join(known)}.")
    return [known[name] for name in names(texts)]


def _print(report: ProofReport) -> None:
    table = Table(
        title="Proof on this machine",
        caption="error: the largest distance to what eager computed when the bundle was made\n"
        "labels: of the stored utterances, how often the label preferred is eager's",
    )
    for heading in ("graph", "backend"):
        table.add_column(heading, no_wrap=True)
    for heading in ("steps", "error", "of its limit", "labels", "ms"):
        table.add_column(heading, justify="right")
    table.add_column("verdict")
    for row in report.rows:
        table.add_row(
            row.graph,
            f"{row.backend} {row.precision}",
            str(row.steps),
            "-" if row.max_abs_error is None else f"{row.max_abs_error:.1e}",
            "-" if row.over_limit is None else f"{row.over_limit:.0%}",
            _labels(row),
            f"{row.median_ms:.3f}",
            "[green]pass[/]" if row.passed else "[bold red]FAIL[/]",
        )
    print_table(table)
    for row in report.rows:
        if not row.passed:
            runtime = f"{row.backend} {report.runtimes[row.backend]}"
            out.print(
                Text(f"✗ {row.graph} on {runtime}, {row.precision}: {row.problem}", style="red"),
                soft_wrap=True,
            )
    for name, why in report.left_out.items():
        out.print(Text(f"! not checked: {name}: {why}", style="yellow"), soft_wrap=True)
    runtimes = ", ".join(f"{name} {number}" for name, number in report.runtimes.items())
    given = f"; providers {', '.join(report.providers)}" if report.providers else ""
    out.print(f"{runtimes}{given}; {report.machine}", highlight=False, soft_wrap=True)


def _labels(row: ProofRow) -> str:
    # Cut and not rounded: 100 % means all.
    return f"{int(row.agreed / row.compared * 1e4) / 100:.2f}%" if row.compared else "-"
