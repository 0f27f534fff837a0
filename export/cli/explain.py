"""deploy-bias explain."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from deploy_bias.bundle import Bundle
from deploy_bias.cli.console import Debug, Json, out, print_json, print_table, stages
from deploy_bias.cli.evaluate import check_plot

if TYPE_CHECKING:
    from deploy_bias.export.explain import Change


def run(
    bundle: Annotated[Path, typer.Argument(help="A folder that `deploy-bias export` wrote.")],
    recordings: Annotated[
        Path, typer.Argument(help="Lines of a file, a tab and the words that it says.")
    ],
    plot: Annotated[
        Path | None, typer.Option(help="Draw the word errors to this picture, as .png or .svg.")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show where words are lost, one change at a time between eager float32 and each backend."""
    if plot is not None:
        check_plot(plot)
    opened = Bundle(bundle)
    with stages(debug) as progress:
        progress("start torch")
        from deploy_bias.export.explain import explain
        from deploy_bias.export.recordings import read_utterances

        changes = explain(opened, read_utterances(recordings), progress)
        if plot is not None:
            progress(f"draw {plot}")
            _plot(changes, plot)
    if as_json:
        rows = [{**asdict(row), "word_error_rate": row.word_error_rate} for row in changes]
        print_json({"bundle": str(bundle), "changes": rows})
        return
    table = Table(
        title=f"Where words are lost, of {changes[0].words}",
        caption="on a backend the graphs are exchanged one by one, each row with those above it; "
        "all other rows are eager float32 but for one change",
    )
    table.add_column("what is changed", no_wrap=True)
    for heading in ("errors", "WER", "texts that differ"):
        table.add_column(heading, justify="right")
    for row in changes:
        rate = f"{100 * row.word_error_rate:.1f}%"
        table.add_row(row.name, str(row.errors), rate, str(len(row.differences)))
    print_table(table)
    told = set()
    for row in changes:
        for one in row.differences:
            if (one.file, one.text) not in told:
                told.add((one.file, one.text))
                texts = f"{one.eager!r} became {one.text!r}; said: {one.words!r}"
                out.print(Text(f"{row.name}, {one.file}: {texts}"), soft_wrap=True)


def _plot(changes: list[Change], path: Path) -> None:
    """Draw a bar of word errors for each change."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 1 + 0.3 * len(changes)), layout="constrained")
    rates = [100 * row.word_error_rate for row in changes]
    axes.barh([row.name for row in changes], rates, 0.7)
    axes.axvline(rates[0], color="0.4", linewidth=1, linestyle="--")
    axes.invert_yaxis()
    axes.set(title="word errors by change; the line is eager float32", xlabel="% of the words")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
