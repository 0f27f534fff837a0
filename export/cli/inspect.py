"""deploy-bias inspect."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from deploy_bias.bundle import Bundle
from deploy_bias.bundle.contract import DynamicSize, GraphContract, TensorSpec
from deploy_bias.bundle.manifest import Manifest
from deploy_bias.cli.console import Debug, Json, out, print_json, size, stages


def run(
    bundle: Annotated[
        Path, typer.Argument(help="A bundle, or a lone .onnx, .pte or .pt file of one.")
    ],
    plot: Annotated[
        Path | None, typer.Option(help="Draw the bias of each block to this .png.")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show contracts, sizes, operators by delegate, and versions."""
    if bundle.is_file():
        if plot is not None:
            raise typer.BadParameter("a lone file has no weights beside it; name the bundle.")
        _inspect_file(bundle, as_json, debug)
        return
    opened = Bundle(bundle)
    manifest = opened.manifest
    for file in manifest.files:
        opened.read(file)  # a changed file must not be shown as if it were sound
    if as_json:
        print_json(manifest.model_dump(mode="json"))
    else:
        contracts = {
            graph.model_dump_json(): graph
            for artifact in manifest.artifacts
            for graph in artifact.graphs
        }
        graphs = list(contracts.values())
        out.print(_modules(graphs), _contracts(graphs), _operators(manifest))
        _print_origin(manifest.exporter, manifest.weights.sha256, manifest.source)
    if plot is not None:
        with stages(debug) as progress:
            progress(f"draw {plot}")
            from deploy_bias.export import plot_biases

            plot_biases(opened, plot)


def _inspect_file(path: Path, as_json: bool, debug: bool) -> None:
    with stages(debug) as progress:
        progress(f"load {path}")
        from deploy_bias.runtime import open_file

        label = open_file(path)
    if as_json:
        print_json(label.model_dump(mode="json"))
        return
    out.print(_modules(list(label.graphs)), _contracts(list(label.graphs)))
    out.print(f"precision {label.precision}")
    _print_origin(label.exporter, label.weights_sha256, {})


def _modules(graphs: list[GraphContract]) -> Table:
    table = Table(title="Modules")
    for heading in ("graph", "module", "weights"):
        table.add_column(heading, overflow="fold")
    for graph in graphs:
        options = graph.module.model_dump(exclude={"type", "weights", "options"}, exclude_none=True)
        options |= getattr(graph.module, "options", {})
        text = ", ".join(f"{name}={value}" for name, value in options.items())
        weights = getattr(graph.module, "weights", "")
        table.add_row(graph.name, f"{graph.module.type}({text})", weights)
    return table


def _contracts(graphs: list[GraphContract]) -> Table:
    table = Table(title="Contract")
    for heading in ("graph", "", "name", "dtype", "shape"):
        table.add_column(heading, overflow="fold")
    for graph in graphs:
        for side, specs in (("input", graph.inputs), ("output", graph.outputs)):
            for spec in specs:
                table.add_row(graph.name, side, spec.name, spec.dtype, _shape(spec))
    return table


def _shape(spec: TensorSpec) -> str:
    sizes = (
        f"{s.name} ≤ {s.maximum}" if isinstance(s, DynamicSize) else str(s) for s in spec.shape
    )
    return f"({', '.join(sizes)})"


def _operators(manifest: Manifest) -> Table:
    table = Table(title="Artifacts and their operators")
    for heading in ("file", "graph", "operator"):
        table.add_column(heading, overflow="fold")
    for heading in ("delegated", "undelegated"):
        table.add_column(heading, justify="right")
    for artifact in manifest.artifacts:
        file = f"{artifact.path} ({size(artifact.bytes)})"
        for graph, found in artifact.operators.items():
            for name in sorted({*found.delegated, *found.undelegated}):
                counts = [str(found.delegated.get(name, "")), str(found.undelegated.get(name, ""))]
                table.add_row(file, graph, name, *counts)
        table.add_section()
    return table


def _print_origin(exporter: dict[str, str], weights: str, source: dict[str, str]) -> None:
    out.print("exported with " + ", ".join(f"{name} {text}" for name, text in exporter.items()))
    origin = ", ".join(f"{name} {text}" for name, text in source.items())
    out.print(f"weights sha256 {weights[:16]}…" + (f", from {origin}" if origin else ""))
