"""deploy-bias inspect."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from deploy_bias.bundle import Bundle
from deploy_bias.cli.console import Debug, Json, out, print_json, size, stages
from deploy_bias.contract import DynamicSize, GraphContract, Manifest, TensorSpec


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
    for artifact in (*manifest.artifacts, manifest.weights, manifest.vectors):
        opened.read(artifact)  # a changed file must not be shown as if it were sound
    if as_json:
        print_json(manifest.model_dump(mode="json"))
    else:
        graphs = {graph: None for artifact in manifest.artifacts for graph in artifact.graphs}
        out.print(_contracts(list(graphs)))
        out.print(_artifacts(manifest))
        _print_origin(manifest.exporter, manifest.weights.sha256, manifest.source)
    if plot is not None:
        with stages(debug) as progress:
            progress(f"draw {plot}")
            from deploy_bias.cli.heavy import plot_biases

            plot_biases(opened, plot)


def _inspect_file(path: Path, as_json: bool, debug: bool) -> None:
    with stages(debug) as progress:
        progress(f"load {path}")
        from deploy_bias.runtime import open_file

        label = open_file(path)
    if as_json:
        print_json(label.model_dump(mode="json"))
        return
    out.print(_contracts(list(label.graphs)))
    _print_origin(label.exporter, label.weights_sha256, {})


def _contracts(graphs: list[GraphContract]) -> Table:
    table = Table(title="Contract")
    for heading in ("graph", "module", "inputs", "outputs"):
        table.add_column(heading)
    for graph in graphs:
        module = graph.module
        sizes = f"max_positions {module.max_positions}"
        if module.size is not None:
            sizes = f"size {module.size}, {sizes}"
        table.add_row(
            graph.name,
            f"{module.type}\n{sizes}\n{module.weights}",
            "\n".join(map(_tensor, graph.inputs)),
            "\n".join(map(_tensor, graph.outputs)),
        )
    return table


def _tensor(spec: TensorSpec) -> str:
    shape = ", ".join(
        f"{s.name} ≤ {s.maximum}" if isinstance(s, DynamicSize) else str(s) for s in spec.shape
    )
    return f"{spec.name} {spec.dtype} ({shape})"


def _artifacts(manifest: Manifest) -> Table:
    table = Table(title="Artifacts")
    for heading in ("file", "backend", "graph", "delegated", "undelegated"):
        table.add_column(heading)
    table.add_column("size", justify="right")
    for artifact in manifest.artifacts:
        shown = size(artifact.bytes)
        for graph, operators in artifact.operators.items():
            table.add_row(
                artifact.path,
                artifact.backend,
                graph,
                _counts(operators.delegated),
                _counts(operators.undelegated),
                shown,
            )
            shown = ""
    return table


def _counts(operators: dict[str, int]) -> str:
    return "\n".join(f"{count} {name}" for name, count in operators.items()) or "-"


def _print_origin(exporter: dict[str, str], weights: str, source: dict[str, str]) -> None:
    out.print("exported with " + ", ".join(f"{name} {text}" for name, text in exporter.items()))
    origin = ", ".join(f"{name} {text}" for name, text in source.items())
    out.print(f"weights sha256 {weights[:16]}…" + (f", from {origin}" if origin else ""))
