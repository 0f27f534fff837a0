"""deploy-bias gate."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from deploy_bias.cli.console import Debug, Json, names, out, print_json, stages
from deploy_bias.errors import OptionError

if TYPE_CHECKING:
    from deploy_bias.export.parity.results import Report

EXPECTED = "expected a torch.nn.Module, (module, example) or (module, example, arguments)"


def run(
    factory: Annotated[
        str,
        typer.Argument(
            help="package.module:name of what returns the eager module; or (module, example), or "
            "(module, example, arguments of assert_export_parity)."
        ),
    ],
    artifact: Annotated[
        list[Path] | None,
        typer.Option(help="A file made of it: .onnx, .pte, .pt, .pt2 or .xml. May be repeated."),
    ] = None,
    cases: Annotated[
        list[Path] | None,
        typer.Option(help="Recorded inputs, .npz: NAME, CASE/NAME or CASE/STEP/NAME."),
    ] = None,
    backend: Annotated[
        list[str] | None,
        typer.Option(help="Comma-separated backends to export to as well: onnx, executorch, ..."),
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option(help="Comma-separated NAME=FILE'S NAME of inputs, where names differ."),
    ] = None,
    outputs: Annotated[list[str] | None, typer.Option(help="Likewise of outputs.")] = None,
    method: Annotated[str | None, typer.Option(help="Of a .pte with several.")] = None,
    provider: Annotated[
        list[str] | None, typer.Option(help="Comma-separated providers of ONNX Runtime.")
    ] = None,
    precision: Annotated[
        str,
        typer.Option(help="fp32; or what the files compute in on purpose: fp16, bf16, int8, int4."),
    ] = "fp32",
    report: Annotated[
        list[Path] | None,
        typer.Option(help="Write a report: .xml (JUnit), .md, .json or .html. May be repeated."),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Compare files with the eager module that they were made of; exit with 1 on any mismatch."""
    paths = report or []
    with stages(debug) as progress:
        progress("start torch")
        from deploy_bias.export import check_paths, write_reports
        from deploy_bias.export.testing import Artifact, ParityError, assert_export_parity
        from deploy_bias.export.testing.recorded import as_arguments, read_recorded

        check_paths(paths)
        recorded = read_recorded(cases or [])
        module, example, arguments = _made(factory)
        if example is None:
            if not recorded:
                raise OptionError(
                    f"{factory} gives no example inputs; return (module, example), or record some "
                    "and say --cases."
                )
            example = next(iter(recorded.values()))[0]
        options: dict[str, Any] = {
            "inputs": _map("--inputs", inputs),
            "outputs": _map("--outputs", outputs),
            "method": method,
            "providers": names(provider) or None,
            "precision": precision,
        }
        files = [Artifact(path, **options) for path in artifact or []]
        given = {
            **arguments,
            "artifacts": [*arguments.get("artifacts", ()), *files],
            "cases": {**arguments.get("cases", {}), **as_arguments(module, example, recorded)},
        }
        if backend:
            given["backends"] = names(backend)
        progress(f"compare {type(module).__name__}")
        text = ""
        try:
            found = assert_export_parity(module, example, **given)
        except ParityError as error:
            found, text = error.report, str(error)
        write_reports(paths, factory, found)
    if as_json:
        print_json(found.to_dict())
    else:
        _print(found, text)
    if not found.passed:
        raise typer.Exit(1)


def _print(found: Report, text: str) -> None:
    for result in found.results:
        worst, agreement = result.worst, result.agreement
        if agreement is not None and result.passed:
            line = f"✓ {result.graph}, {result.backend}, {result.precision}: {agreement.why}"
            out.print(Text(line, style="green"), soft_wrap=True)
        if result.passed and worst is not None:
            count = len({case.case for case in result.cases})
            line = f"✓ {result.graph}, {result.backend}: right on {count} cases"
            out.print(Text(line, style="green"), soft_wrap=True)
            share = f"{worst.error_by_eager:.2f} times eager's, 4 allowed"
            out.print(f"  error {worst.error:.1e} in {worst.output}, {share}", soft_wrap=True)
    for line in found.remarks:
        out.print(Text(line), soft_wrap=True)
    if text:
        out.print(Text(text, style="red"), soft_wrap=True)


def _made(factory: str) -> tuple[Any, Any, Mapping[str, Any]]:
    """Return the module, its example inputs if there are any, and more arguments."""
    name, _, attribute = factory.partition(":")
    if not name or not attribute:
        raise OptionError(f"{factory}: expected package.module:name, as models.tiny:make.")
    sys.path.insert(0, "")  # as `python -m` does
    try:
        found: Any = importlib.import_module(name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise OptionError(
            f"{factory}: {type(error).__name__}: {error}; it is imported from the current folder "
            "or what is installed."
        ) from error
    from torch import nn

    made = found if isinstance(found, nn.Module) or not callable(found) else found()
    whole = made if isinstance(made, tuple) else (made,)
    if not 1 <= len(whole) <= 3:
        raise OptionError(f"{factory}: {EXPECTED}, got {len(whole)} values.")
    module, example = whole[0], whole[1] if len(whole) > 1 else None
    arguments = whole[2] if len(whole) > 2 else {}
    if not isinstance(module, nn.Module) or not isinstance(arguments, Mapping):
        raise OptionError(f"{factory}: {EXPECTED}, got {type(module).__name__}.")
    return module, example, arguments


def _map(option: str, texts: list[str] | None) -> dict[str, str]:
    found = {}
    for text in names(texts):
        own, equals, theirs = text.partition("=")
        if not (own and equals and theirs):
            raise OptionError(f"{option} {text}: expected NAME=FILE'S NAME.")
        found[own] = theirs
    return found
