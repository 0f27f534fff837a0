"""deploy-bias decode."""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

from deploy_bias.bundle import Bundle
from deploy_bias.bundle.contract import Precision
from deploy_bias.cli.console import (
    Debug,
    Json,
    Provider,
    names,
    out,
    print_json,
    print_table,
    stages,
)
from deploy_bias.errors import OptionError, SourceError
from deploy_bias.runtime import Decoder, Joint, load, open_search
from deploy_bias.runtime.language_model import LanguageModel, lm_graph
from deploy_bias.runtime.phrases import read_phrases, spell
from deploy_bias.runtime.search import BeamSearch, check_weight, search_class
from deploy_bias.runtime.tokens import Tokens

SEARCH_HELP = (
    "greedy, or a beam search of ESPnet: default, maes, tsd, alsd (whole utterances); of its asr "
    "task: asr_greedy, nsc, asr_maes, and mbg for models of several blanks."
)


def run(
    bundle: Annotated[Path, typer.Argument(help="A folder that `deploy-bias export` wrote.")],
    encoder_out: Annotated[
        Path, typer.Argument(help="Encoder frames of one utterance: a .npy, float32 (frames, E).")
    ],
    backend: Annotated[str, typer.Option(help="onnx, executorch or torchscript.")] = "onnx",
    precision: Annotated[Precision, typer.Option(help="Of the linear layers' weights.")] = "fp32",
    provider: Provider = None,
    search: Annotated[str, typer.Option(help=SEARCH_HELP)] = "greedy",
    beam_size: Annotated[
        int | None, typer.Option(help="Hypotheses of a beam search. [default: 5]")
    ] = None,
    hotwords: Annotated[
        Path | None,
        typer.Option(help="A file of phrases to listen for: PHRASE or PHRASE :BOOST, by lines."),
    ] = None,
    lm_weight: Annotated[
        float, typer.Option(help="Of the bundle's language model, in a search with a beam.")
    ] = 0.0,
    nbest: Annotated[int, typer.Option(help="Results to show, the best ones.", min=1)] = 1,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Decode encoder frames: the transducer's search over the decoder and the joint network."""
    options = search_options(search, beam_size)
    if nbest > 1 and not has_beam(search):
        raise OptionError(
            f"--nbest: the {search} search has one result; add --search default or maes."
        )
    frames = read_frames(encoder_out)
    opened = Bundle(bundle)
    with stages(debug) as progress:
        progress(f"load {bundle} on {backend}")
        tokens = Tokens(opened)
        graphs = load(opened, backend, precision, providers=names(provider))
        check_weight(lm_weight)
        found = open_search(
            search,
            Decoder(graphs["decoder"]),
            Joint(graphs["joint"]),
            hotwords=None if hotwords is None else spell(tokens, read_phrases(hotwords)),
            lm=LanguageModel(lm_graph(graphs, opened)) if lm_weight else None,
            lm_weight=lm_weight,
            **options,
        )
        progress(f"decode {len(frames)} frames")
        found.accept(frames)
        results = found.results(nbest)
    if as_json:
        content = [
            {
                "text": tokens.text(result.labels),
                "tokens": [tokens[label] for label in result.labels],
                "labels": result.labels,
                "frames": result.frames,
                "log_probs": result.log_probs,
                "score": result.score,
            }
            for result in results
        ]
        print_json({"encoder_out": str(encoder_out), "backend": backend, "results": content})
        return
    out.rule(f"{encoder_out.name}, {search} search on {backend}")
    table = Table()
    table.add_column("score", justify="right")
    table.add_column("text", overflow="fold")
    for result in results:
        table.add_row(f"{result.score:.3f}", tokens.text(result.labels))
    print_table(table)


def search_options(search: str, beam_size: int | None) -> dict[str, Any]:
    """Return the options of a search that the command line gave.

    Raises:
        OptionError: the search is unknown or has no beam.
    """
    beam = has_beam(search)
    if beam_size is None:
        return {}
    if not beam:
        raise OptionError(f"--beam-size: the {search} search has no beam; add --search default.")
    return {"beam_size": beam_size}


def has_beam(search: str) -> bool:
    """Say whether a search keeps several hypotheses.

    Raises:
        OptionError: the search is unknown.
    """
    return issubclass(search_class(search), BeamSearch)


def read_frames(path: Path) -> np.ndarray:
    """Read encoder frames (T, E) from a .npy file, as float32.

    Raises:
        SourceError: the file is missing or no .npy, or holds no floating-point matrix.
    """
    try:
        frames = np.load(path, allow_pickle=False)
    except OSError as error:
        what = (error.strerror or "unreadable").lower()
        raise SourceError(f"{path}: {what}; expected a .npy of encoder frames.") from error
    except (ValueError, EOFError, MemoryError, OverflowError) as error:
        raise SourceError(
            f"{path}: not a .npy file of numbers; write one with numpy.save."
        ) from error
    if not isinstance(frames, np.ndarray) or frames.ndim != 2 or frames.dtype.kind != "f":
        came = f"{frames.dtype} {frames.shape}" if isinstance(frames, np.ndarray) else "an archive"
        raise SourceError(f"{path}: expected floating-point (frames, E), got {came}.")
    return frames.astype(np.float32)
