"""What the commands share: options, progress, and keeping native noise off the screen."""

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

out = Console()
errors = Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks and native logs.")]


@contextmanager
def stages(debug: bool) -> Iterator[Callable[[str], None]]:
    """Show each stage with its time; the exporters' and runtimes' own logs only with `debug`."""
    with quiet(debug) as screen, _progress(screen) as progress:
        running: list[Any] = []

        def finish() -> None:
            for task in running:
                progress.update(task, total=1, completed=1)
            running.clear()

        def begin(stage: str) -> None:
            finish()
            running.append(progress.add_task(stage, total=None))

        yield begin
        finish()


def print_json(content: object) -> None:
    """Print for a program: no colour, no wrapping."""
    sys.stdout.write(json.dumps(content, indent=1) + "\n")


def names(texts: list[str] | None) -> list[str]:
    """Return the names of comma-separated options."""
    return [name.strip() for text in texts or [] for name in text.split(",") if name.strip()]


def size(count: int) -> str:
    """Return bytes for a person."""
    return f"{count:,} B" if count < 10_000 else f"{count / 1000:,.1f} kB"


def _progress(screen: Console) -> Progress:
    columns = (SpinnerColumn(finished_text="✓"), TextColumn("{task.description}"))
    return Progress(*columns, TimeElapsedColumn(), console=screen)


@contextmanager
def quiet(debug: bool) -> Iterator[Console]:
    """Catch file descriptor 2: ExecuTorch and torch write there past Python."""
    if debug:
        yield errors
        return
    sys.stderr.flush()
    screen = os.dup(2)
    try:
        with tempfile.TemporaryFile() as caught, os.fdopen(screen, "w", closefd=False) as stream:
            os.dup2(caught.fileno(), 2)
            try:
                yield Console(file=stream)
            finally:
                sys.stderr.flush()
                os.dup2(screen, 2)
    finally:
        os.close(screen)
