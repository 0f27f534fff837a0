"""Run every benchmark; print tables, write it as JSON and as a plot."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from benchmarks import bias_eager, bias_graph, decoder_step, layer_norm, search, streaming
from benchmarks.timing import Row

BENCHMARKS = (bias_eager, bias_graph, layer_norm, decoder_step, search, streaming)


def main(
    output: Annotated[Path, typer.Option(help="Folder for bench.json and bench.png.")],
) -> None:
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    rows = []
    for benchmark in BENCHMARKS:
        found = list(benchmark.rows())
        Console(width=120).print(table(benchmark.__name__.split(".")[-1], found))
        rows += found
    output.mkdir(parents=True, exist_ok=True)
    content = [{**asdict(row), "met": row.met} for row in rows]
    (output / "bench.json").write_text(json.dumps(content, indent=1) + "\n")
    plot(rows, output / "bench.png")


def table(name: str, rows: list[Row]) -> Table:
    found = Table(title=f"{name}: one thread, one process; medians")
    for heading in ("what", "ms", "ratio", "wanted", "met"):
        found.add_column(heading, overflow="fold")
    for row in rows:
        wanted = f"≥ {row.at_least:g}" if row.at_least is not None else f"≤ {row.at_most:g}"
        times = "\n".join(f"{name} {value:.2f}" for name, value in row.ms.items())
        verdict = "[green]yes[/]" if row.met else "[red]no[/]"
        found.add_row(row.name, times, f"{row.ratio:.3g}", wanted, verdict)
    return found


def plot(rows: list[Row], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    timed = [row for row in rows if row.ms]
    figure, axes = pyplot.subplots(
        len(timed), 1, figsize=(8, 1.6 * len(timed)), layout="constrained"
    )
    for row, axis in zip(timed, axes, strict=True):
        bars = axis.barh(list(row.ms), list(row.ms.values()))
        axis.bar_label(bars, fmt="%.2f")
        axis.invert_yaxis()
        axis.set_title(row.name, fontsize=9, loc="left")
        axis.set_xlabel("ms")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    typer.run(main)
