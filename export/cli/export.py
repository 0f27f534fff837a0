"""deploy-bias export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy_bias.bundle import Bundle
from deploy_bias.cli.console import Debug, Json, names, out, print_json, size, stages

if TYPE_CHECKING:
    from deploy_bias.export.parity.results import Report


def run(
    source: Annotated[
        Path | None,
        typer.Argument(
            help="An ESPnet experiment folder (config.yaml and a .pth), or a bare state_dict."
        ),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The bundle to write.")] = Path(
        "bundle"
    ),
    config: Annotated[
        Path | None, typer.Option(help="The config.yaml, if it is not in SOURCE.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="The .pth, if SOURCE holds none or several.")
    ] = None,
    lm: Annotated[
        Path | None,
        typer.Option(help="The experiment folder of a seq_rnn language model of the same tokens."),
    ] = None,
    backend: Annotated[
        list[str] | None,
        typer.Option(
            help="Comma-separated: torchscript, onnx, executorch. [default: all that run here]"
        ),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            help="Comma-separated: fp32, int8, int4, auto (int8 where it costs no words). "
            "[default: fp32]"
        ),
    ] = None,
    recordings: Annotated[
        Path | None,
        typer.Option(
            help="Lines of a file, a tab and its words, on which auto counts word errors. "
            "[default: it counts labels along the stored utterances]"
        ),
    ] = None,
    max_wer_loss: Annotated[
        float, typer.Option(help="Word errors more than float32 in auto, in % of the words.")
    ] = 0.5,
    query_length: Annotated[
        int | None, typer.Option(help="Rows of the scores. [default: key length]")
    ] = None,
    key_length: Annotated[
        int | None,
        typer.Option(help="Columns of the scores. [default: 256 or max_positions, the lesser]"),
    ] = None,
    context: Annotated[
        int | None,
        typer.Option(help="Window rows of the decoder. [default: 256 or what fits, the lesser]"),
    ] = None,
    batch: Annotated[int, typer.Option(help="Hypotheses a call.")] = 1,
    start: Annotated[
        str | None,
        typer.Option(
            help="What is before the first label: espnet (as it decodes) or clean (as it trains). "
            "[default: espnet of mega, clean of rwkv]"
        ),
    ] = None,
    rescale: Annotated[
        str | None,
        typer.Option(
            help="What rescale_every of rwkv does: espnet (as it decodes) or clean (nothing). "
            "[default: espnet]"
        ),
    ] = None,
    chunk_ms: Annotated[
        int, typer.Option(help="Milliseconds of audio to encode at once (ESPnet: decoding_window).")
    ] = 640,
    left_context: Annotated[
        int, typer.Option(help="Encoder frames before a chunk that the encoder sees.")
    ] = 32,
    offline: Annotated[
        bool,
        typer.Option("--offline", help="Encode whole utterances (not TorchScript)."),
    ] = False,
    dynamic: Annotated[
        bool, typer.Option("--dynamic", help="ONNX takes any length up to max_positions.")
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a bundle: the biases, decoder and joint network of SOURCE as verified graphs."""
    with stages(debug) as progress:
        progress("start torch")
        from deploy_bias.export import ExportOptions, export_bundle

        options = ExportOptions(
            backends=names(backend),
            precisions=names(precision) or ("fp32",),
            max_wer_loss=max_wer_loss,
            query_length=query_length,
            key_length=key_length,
            context=context,
            batch=batch,
            start=start,
            rescale=rescale,
            chunk_ms=chunk_ms,
            left_context=left_context,
            offline=offline,
            dynamic=dynamic,
        )
        report = export_bundle(
            source,
            output,
            options,
            config=config,
            checkpoint=checkpoint,
            recordings=recordings,
            lm=lm,
            progress=progress,
        )
    manifest = Bundle(output).manifest
    if as_json:
        print_json({"bundle": str(output), "manifest": manifest.model_dump(mode="json")})
        return
    total = size(sum(file.bytes for file in manifest.files))
    origin = manifest.source.get("checkpoint", "a module")
    out.print(f"[green]✓[/] {output}, from {origin}: {total}")
    for name, layers in manifest.float_layers.items():
        for layer, why in layers.items():
            out.print(f"  auto keeps {name} {layer} in float32: {why}", soft_wrap=True)
    for line in [*options.plan()[1], *proven(report)]:
        out.print(f"  {line}")
    out.print(f"next: deploy-bias inspect {output}, deploy-bias verify {output}", soft_wrap=True)


def proven(report: Report) -> list[str]:
    """Return what was proven, a line for each precision."""
    from deploy_bias.export.parity.judge import BUDGET

    lines = []
    for precision in dict.fromkeys(result.precision for result in report.results):
        results = [result for result in report.results if result.precision == precision]
        backends = ", ".join(dict.fromkeys(result.backend for result in results))
        graphs = ", ".join(dict.fromkeys(result.graph for result in results))
        worst = max((case.error_by_eager for result in results for case in result.cases), default=0)
        measured = f"at most {worst:.2f} times eager float32's own error, {BUDGET:g} allowed"
        if precision != "fp32":
            distances = (r.agreement.distance for r in results if r.agreement is not None)
            measured = f"at most {max(distances, default=0):.1%} from eager"
        lines.append(f"{precision}: {graphs} on {backends}: {measured}")
    return lines
