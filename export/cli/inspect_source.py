"""deploy-bias inspect of what is not exported yet."""

from dataclasses import asdict
from pathlib import Path

from rich.table import Table
from rich.text import Text

from deploy_bias.bundle import MANIFEST
from deploy_bias.cli.console import out, print_json, stages

SUFFIXES = (".pth", ".safetensors", ".zip")
"""Of files that are a source; a .pt is an artifact of a bundle."""


def is_source(path: Path) -> bool:
    """Return whether a path is an experiment, a pack or a checkpoint, and no bundle."""
    if path.is_dir():
        given = [*path.glob("*.yaml"), *path.glob("*.pth")]
        return bool(given) and not (path / MANIFEST).exists()
    return path.suffix in SUFFIXES


def show(path: Path, as_json: bool, debug: bool) -> None:
    """Print what a source is, what can be exported of it, and what cannot and why."""
    with stages(debug) as progress:
        progress("start torch")
        from deploy_bias.export.description import describe

        progress(f"read {path}")
        description = describe(path)
    if as_json:
        print_json(asdict(description))
        return
    table = Table(title=str(path), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in description.facts.items():
        table.add_row(name, Text(text))
    total = sum(description.parameters.values())
    if total:
        parts = ", ".join(f"{name} {n / 1e6:.2f} M" for name, n in description.parameters.items())
        table.add_row("parameters", f"{total / 1e6:.2f} M: {parts}")
    out.print(table)
    for name, why in description.exports.items():
        line = Text(f"✓ {name}", "green") if why is None else Text(f"✗ {name}: {why}", "red")
        out.print(line, soft_wrap=True)
    for note in description.notes:
        out.print(Text(f"! {note}", "yellow"), soft_wrap=True)
