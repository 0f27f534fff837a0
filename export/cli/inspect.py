"""deploy-bias inspect."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from deploy_bias.bundle import Bundle
from deploy_bias.bundle.contract import DynamicSize, GraphContract, TensorSpec
from deploy_bias.bundle.manifest import Manifest
from deploy_bias.cli.console import Debug, Json, out, print_json, print_table, size, stages
from deploy_bias.export.cli import inspect_source

COSTLY = {
    "_native_batch_norm_legit_no_training",
    "_softmax",
    "addmm",
    "bmm",
    "convolution",
    "linear",
    "mm",
    "native_layer_norm",
}
"""Operators that a delegate should take: nearly all of a model's time is theirs."""


def run(
    bundle: Annotated[
        Path,
        typer.Argument(
            help="A bundle, a lone .onnx, .pte or .pt file of one; or what to export: an "
            "experiment, a pack of the model zoo or a checkpoint."
        ),
    ],
    plot: Annotated[
        Path | None, typer.Option(help="Draw the bias of each block to this .png.")
    ] = None,
    operators: Annotated[
        bool, typer.Option("--operators", help="List every operator, and where it runs.")
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Sum up a bundle; of a lone file show its contract, of a source what can be exported."""
    if inspect_source.is_source(bundle):
        if plot is not None or operators:
            raise typer.BadParameter(f"{bundle} is no bundle; export it first.")
        inspect_source.show(bundle, as_json, debug)
        return
    if bundle.is_file():
        if plot is not None or operators:
            raise typer.BadParameter("a lone file has no manifest beside it; name the bundle.")
        _inspect_file(bundle, as_json, debug)
        return
    opened = Bundle(bundle)
    manifest = opened.manifest
    for file in manifest.files:
        opened.read(file)  # a changed file must not be shown as if it were sound
    if as_json:
        print_json(manifest.model_dump(mode="json"))
    else:
        _print_bundle(bundle, manifest, operators)
    if plot is not None:
        with stages(debug) as progress:
            progress(f"draw {plot}")
            from deploy_bias.export import plot_biases

            plot_biases(opened, plot)


def _print_bundle(folder: Path, manifest: Manifest, operators: bool) -> None:
    total = sum(file.bytes for file in manifest.files)
    out.print(f"[bold]{folder}[/]: {len(manifest.files)} files, {size(total)}")
    modules = {
        graph.name: graph.module.type
        for artifact in manifest.artifacts
        for graph in artifact.graphs
    }
    out.print(", ".join(f"{name} {module}" for name, module in modules.items()))
    print_table(_artifacts(manifest))
    _print_outside(manifest)
    if operators:
        print_table(_operators(manifest))
    _print_origin(manifest.exporter, manifest.weights.sha256, manifest.source)
    first = manifest.artifacts[0].path
    out.print(f"inputs, outputs and state: deploy-bias inspect {folder / first}", soft_wrap=True)


def _inspect_file(path: Path, as_json: bool, debug: bool) -> None:
    with stages(debug) as progress:
        progress(f"load {path}")
        from deploy_bias.runtime import open_file

        label = open_file(path)
    if as_json:
        print_json(label.model_dump(mode="json"))
        return
    print_table(_modules(list(label.graphs)))
    print_table(_contracts(list(label.graphs)))
    out.print(f"precision {label.precision}")
    _print_origin(label.exporter, label.weights_sha256, {})


def _modules(graphs: list[GraphContract]) -> Table:
    table = Table(title="Modules")
    for heading in ("graph", "module", "weights"):
        table.add_column(heading, overflow="fold")
    for graph in graphs:
        options = {**graph.settings, **graph.module.options}
        text = ", ".join(f"{name}={value}" for name, value in options.items())
        table.add_row(graph.name, f"{graph.module.type}({text})", graph.module.weights)
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


def _artifacts(manifest: Manifest) -> Table:
    table = Table()
    table.add_column("file", no_wrap=True)
    table.add_column("size", justify="right")
    table.add_column("graphs", overflow="fold")
    for heading in ("operators", "delegated"):
        table.add_column(heading, justify="right")
    for artifact in manifest.artifacts:
        graphs = ", ".join(graph.name for graph in artifact.graphs)
        inside, outside = (
            sum(sum(getattr(counts, side).values()) for counts in artifact.operators.values())
            for side in ("delegated", "undelegated")
        )
        # ONNX and TorchScript have no delegates.
        share = f"{inside / (inside + outside):.0%}" if inside else "-"
        count = f"{inside + outside:,}"
        table.add_row(artifact.path, size(artifact.bytes), graphs, count, share)
    return table


def _print_outside(manifest: Manifest) -> None:
    """Say which operators no delegate takes, where there is one, and what they cost."""
    outside = {
        f"{artifact.path}, {graph}": counts
        for artifact in manifest.artifacts
        for graph, counts in artifact.operators.items()
        if any(each.delegated for each in artifact.operators.values()) and counts.undelegated
    }
    if not outside:
        return
    out.print("left outside the delegate, in ExecuTorch's portable kernels (plain loops):")
    costly = False
    for name, counts in outside.items():
        left = sorted(counts.undelegated.items(), key=lambda item: -item[1])
        total = sum(counts.undelegated.values()) + sum(counts.delegated.values())
        text = Text(f"  {name}: {sum(counts.undelegated.values())} of {total}: ")
        for number, (operator, count) in enumerate(left):
            heavy = _base(operator) in COSTLY
            costly |= heavy
            times = f" {count}" if count > 1 else ""
            text.append(", " if number else "")
            text.append(f"{_base(operator)}{times}", style="bold red" if heavy else "")
        out.print(text)
    out.print(
        "! products, convolutions, softmax or norms are among them: most of the time may go there"
        if costly
        else "none is a product, a convolution, a softmax or a norm: they cost little"
    )


def _base(operator: str) -> str:
    """Return the name of an operator without its namespace and overload."""
    return operator.split(".")[1] if operator.count(".") else operator


def _operators(manifest: Manifest) -> Table:
    table = Table(title="Operators")
    for heading in ("graph", "operator"):
        table.add_column(heading, overflow="fold")
    for heading in ("delegated", "left"):
        table.add_column(heading, justify="right")
    for artifact in manifest.artifacts:
        for graph, counts in artifact.operators.items():
            for name in sorted({*counts.delegated, *counts.undelegated}):
                numbers = (
                    str(side.get(name, "")) for side in (counts.delegated, counts.undelegated)
                )
                table.add_row(f"{artifact.path}, {graph}", name, *numbers)
        table.add_section()
    return table


def _print_origin(exporter: dict[str, str], weights: str, source: dict[str, str]) -> None:
    out.print("exported with " + ", ".join(f"{name} {text}" for name, text in exporter.items()))
    origin = ", ".join(f"{name} {text}" for name, text in source.items())
    out.print(f"weights sha256 {weights[:16]}…" + (f", from {origin}" if origin else ""))
