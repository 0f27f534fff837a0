"""deploy-bias verify."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from deploy_bias.bundle import PARITY, Bundle
from deploy_bias.cli.console import Debug, Json, names, out, print_json, print_table, stages
from deploy_bias.files import write_whole

if TYPE_CHECKING:
    from deploy_bias.export.parity.results import GraphResult, Report


def run(
    bundle: Annotated[Path, typer.Argument(help="A folder that `deploy-bias export` wrote.")],
    report: Annotated[
        list[Path] | None,
        typer.Option(help="Write a report: .xml (JUnit), .md, .json or .html. May be repeated."),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(help="A parity.json: fail if errors, sizes or operators grew past it."),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(help="Comma-separated backends to leave out; any other must be installed."),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Run every artifact against eager float32 and float64; exit with 1 on any mismatch."""
    opened = Bundle(bundle)
    paths = report or []
    with stages(debug) as progress:
        progress("start torch")
        from deploy_bias.export import (
            ALLOWED,
            check_paths,
            growths,
            read_baseline,
            verify,
            write_reports,
        )

        check_paths(paths)
        known = None if baseline is None else read_baseline(baseline)
        # The page shows the error after each stage, and not only of what failed.
        attribute = any(path.suffix == ".html" for path in paths)
        found = verify(opened, progress=progress, attribute=attribute, without=names(without))
        unwritten = None
        grown = [] if known is None else growths(known, found.to_dict())
        if not grown:  # or the next run would take the worse one for the baseline
            unwritten = _write_parity(bundle / PARITY, found)
        write_reports(paths, bundle.resolve().name, found, grown)
    if as_json:
        content = found.to_dict()
        if known is not None:
            content["growths"] = [asdict(growth) for growth in grown]
        print_json(content)
    else:
        print_table(_parity_table(found))
        if unwritten:
            line = Text(f"! {bundle / PARITY} stays as it was: {unwritten}", style="yellow")
            out.print(line, soft_wrap=True)
        if found.without:
            out.print(f"left out by name: {', '.join(found.without)}")
        for result in found.results:
            if not result.passed:
                name = f"{result.graph} on {result.backend}, {result.precision}"
                out.print(Text(f"✗ {name}: {result.why}", style="red"))
        for growth in grown:
            out.print(Text(f"✗ {growth.why}", style="red"))
        if baseline is not None:
            out.print(f"{len(grown) or 'nothing'} grown past {baseline}; {ALLOWED}")
    if grown or not found.passed:
        raise typer.Exit(1)


def _write_parity(path: Path, found: Report) -> str | None:
    """Return why it could not be written: a read-only bundle is verified all the same."""
    try:
        write_whole(path, found.to_json())
    except OSError as error:
        return error.strerror
    return None


def _parity_table(report: Report) -> Table:
    """Return one row a graph, backend and precision."""
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
            "-" if agreement is None else agreement.percent,
            "[green]pass[/]" if result.passed else "[bold red]FAIL[/]",
        )
    return table


def _error(result: GraphResult) -> str:
    if result.worst is not None:
        return f"{result.worst.error:.1e}"
    return "-" if result.agreement is None else f"{result.agreement.distance:.1%}"
