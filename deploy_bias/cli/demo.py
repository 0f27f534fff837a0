"""deploy-bias demo."""

from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from deploy_bias.bundle import Bundle
from deploy_bias.cli import export, inspect, verify
from deploy_bias.cli.console import Debug, out, stages
from deploy_bias.cli.decode import read_frames
from deploy_bias.errors import DeployBiasError


def run(
    output: Annotated[Path, typer.Option("--output", "-o", help="The bundle to write.")] = Path(
        "digits-bundle"
    ),
    debug: Debug = False,
) -> None:
    """Export, verify, inspect and decode with the small ESPnet model that ships in the package."""
    with as_file(files("deploy_bias").joinpath("data/digits")) as model:
        out.rule("[bold]deploy-bias export")
        export.run(model, output, debug=debug)
        out.rule("[bold]deploy-bias verify")
        verify.run(output, debug=debug)
        out.rule("[bold]deploy-bias inspect")
        picture = output.with_name(f"{output.name}.png")
        inspect.run(output, plot=picture, debug=debug)
        out.rule("[bold]deploy-bias decode")
        _decode(Bundle(output), model / "encoder_out", debug)
    out.print(
        f"[green]✓[/] {output} runs on ONNX Runtime, ExecuTorch and TorchScript; "
        f"its bias is drawn in {picture}."
    )


def _decode(bundle: Bundle, recordings: Path, debug: bool) -> None:
    """Decode what the model's encoder made of people's voices, on every runtime."""
    texts: dict[str, dict[str, str]] = {}
    with stages(debug) as progress:
        from deploy_bias.runtime import Decoder, Joint, load, open_search
        from deploy_bias.runtime.tokens import Tokens

        tokens = Tokens(bundle)
        for backend in bundle.manifest.backends:
            progress(f"decode on {backend}")
            graphs = load(bundle, backend)
            search = open_search("greedy", Decoder(graphs["decoder"]), Joint(graphs["joint"]))
            for path in sorted(recordings.glob("*.npy")):
                search.reset()
                search.accept(read_frames(path))
                (best,) = search.results()
                texts.setdefault(path.stem, {})[backend] = tokens.text(best.labels)
    table = Table(title="Recordings of people, decoded", caption="the same on every runtime")
    table.add_column("encoder frames of")
    table.add_column("text", overflow="fold")
    for recording, found in texts.items():
        if len(set(found.values())) > 1:
            raise DeployBiasError(f"{recording}: the runtimes do not agree: {found}.")
        table.add_row(recording, next(iter(found.values())))
    out.print(table)
