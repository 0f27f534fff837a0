"""What the commands share: options, progress, and keeping native noise off the screen."""

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from deploy_bias.cli.terminal import abandon, one_line, shown, write


class Screen(Console):
    """Shows every character, and goes on when its reader leaves."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render, and write out what a terminal would obey."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=shown(segment.text))

    def on_broken_pipe(self) -> None:
        """Go on: the exit status tells of the work and not of its reader."""
        abandon(self.file)


out = Screen()
errors = Screen(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Provider = Annotated[
    list[str] | None,
    typer.Option(
        help="Comma-separated execution providers of ONNX Runtime, the first one preferred. "
        "[default: CPUExecutionProvider]"
    ),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks and native logs.")]


@contextmanager
def stages(debug: bool, transient: bool = False) -> Iterator[Callable[[str], None]]:
    """Show each stage with its time; the exporters' and runtimes' own logs only with `debug`.

    transient: show the stage that runs, and leave nothing of it.
    """
    with quiet(debug) as screen, _progress(screen, transient) as progress:
        running: list[Any] = []

        def finish() -> None:
            for task in running:
                progress.update(task, total=1, completed=1, visible=not transient)
            running.clear()

        def begin(stage: str) -> None:
            finish()
            running.append(progress.add_task(shown(stage), total=None))

        yield begin
        finish()


def print_json(content: object) -> None:
    """Print for a program: no colour, no wrapping."""
    write(json.dumps(content, indent=1) + "\n")


def report(kind: str, text: str) -> None:
    """Print an "error" or a "warning" to the standard error, as one line."""
    line = f"{kind}: {one_line(text)}"
    errors.print(line, markup=False, highlight=False, soft_wrap=True)


def names(texts: list[str] | None) -> list[str]:
    """Return the names of comma-separated options."""
    return [name.strip() for text in texts or [] for name in text.split(",") if name.strip()]


def size(count: int) -> str:
    """Return bytes for a person."""
    if count >= 1_000_000:
        return f"{count / 1e6:,.1f} MB"
    return f"{count:,} B" if count < 10_000 else f"{count / 1000:,.1f} kB"


def print_table(table: Table) -> None:
    """Print a table, or a line for each row where a word of it would break."""
    endless = out.options.update(max_width=10_000)
    if out.measure(table, options=endless).minimum <= out.width:
        out.print(table)
        return
    headings = [str(column.header) for column in table.columns]
    if table.title:
        out.print(table.title, style="italic")
    for cells in zip(*(column.cells for column in table.columns), strict=True):
        texts = [Text.from_markup(cell) if isinstance(cell, str) else cell for cell in cells]
        named = [
            Text.assemble(f"{heading} ", text) if heading else text
            for heading, text in zip(headings[1:], texts[1:], strict=True)
            if str(text)
        ]
        first = texts[0].copy()
        first.stylize("bold")
        out.print(Text(", ").join([first, *named]))
    if table.caption:
        out.print(table.caption, style="dim italic")


def _progress(screen: Console, transient: bool) -> Progress:
    columns = (SpinnerColumn(finished_text="✓"), TextColumn("{task.description}"))
    return Progress(*columns, TimeElapsedColumn(), console=screen, transient=transient)


@contextmanager
def quiet(debug: bool) -> Iterator[Screen]:
    """Catch file descriptor 2: ExecuTorch and torch write there past Python."""
    if debug:
        yield errors
        return
    sys.stderr.flush()
    screen = os.dup(2)
    try:
        with (
            tempfile.TemporaryFile() as caught,
            open(
                screen,
                "w",
                encoding=sys.stderr.encoding,
                errors="backslashreplace",
                closefd=False,
            ) as stream,
        ):
            os.dup2(caught.fileno(), 2)
            try:
                yield Screen(file=stream)
            finally:
                sys.stderr.flush()
                os.dup2(screen, 2)
    finally:
        os.close(screen)
