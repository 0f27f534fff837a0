"""deploy-bias transcribe."""

import signal
from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from deploy_bias.bundle.contract import Precision
from deploy_bias.cli.audio import Block
from deploy_bias.cli.console import (
    Debug,
    Json,
    Provider,
    names,
    out,
    print_json,
    print_table,
    quiet,
    report,
    stages,
)
from deploy_bias.cli.decode import SEARCH_HELP, search_options
from deploy_bias.cli.microphone import microphone_blocks
from deploy_bias.cli.subtitles import FORMATS
from deploy_bias.cli.terminal import shown, write
from deploy_bias.cli.transcript import Failure, Interruption, Transcript, transcribe
from deploy_bias.errors import DeployBiasError, OptionError
from deploy_bias.runtime import OfflineRecognizer, Recognizer, open_recognizer
from deploy_bias.runtime.phrases import read_phrases
from deploy_bias.runtime.recognizer.base import LEAD_IN


class Format(StrEnum):
    """What `--format` prints."""

    words = "words"
    ctm = "ctm"
    srt = "srt"
    vtt = "vtt"


def run(
    bundle: Annotated[Path, typer.Argument(help="A folder that `deploy-bias export` wrote.")],
    audio: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Audio files: wav, flac, ogg, mp3, m4a, ...; any rate; or /dev/stdin.",
            readable=False,  # one that is not readable does not end the others
        ),
    ] = None,
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
    stream: Annotated[
        bool, typer.Option("--stream", help="Show the text as the audio plays, in its own time.")
    ] = False,
    microphone: Annotated[
        bool, typer.Option("--microphone", help="Listen until Ctrl-C; a line for each utterance.")
    ] = False,
    lead_in: Annotated[
        int,
        typer.Option(help="Milliseconds of silence before the first sample; ESPnet's 0.", min=0),
    ] = round(1000 * LEAD_IN),
    form: Annotated[
        Format | None,
        typer.Option(
            "--format", help="words: a table of their times and confidence; ctm, srt, vtt: text."
        ),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Recognise speech, from audio files or a microphone."""
    files = audio or []
    _check_options(files, stream, microphone, as_json, form)
    options = search_options(search, beam_size)
    found: list[Transcript | Failure] = []
    with stages(debug) as progress:
        progress(f"load {bundle} on {backend}")
        recognizer = open_recognizer(
            bundle,
            backend,
            search,
            precision=precision,
            providers=names(provider),
            lead_in=lead_in / 1000,
            hotwords=() if hotwords is None else read_phrases(hotwords),
            lm_weight=lm_weight,
            **options,
        )
        if isinstance(recognizer, OfflineRecognizer) and (stream or microphone):
            option = "--stream" if stream else "--microphone"
            raise OptionError(
                f"{option}: {bundle} was exported with --offline, for whole utterances; export "
                "without it."
            )
        if not stream:
            found = _attempt(recognizer, files, transcribe, progress)
    if microphone and isinstance(recognizer, Recognizer):
        with quiet(debug):
            _listen(recognizer, microphone_blocks())
    elif stream:
        with quiet(debug):
            found = _attempt(recognizer, files, _play)
    elif as_json:
        about = {"bundle": str(bundle), "backend": backend, "precision": precision}
        print_json({**about, "results": [outcome.content() for outcome in found]})
    else:
        _print(found, form)
    for outcome in found:
        for kind, text in outcome.reports():
            report(kind, text)
    if any(isinstance(outcome, Transcript) and outcome.interrupted for outcome in found):
        raise typer.Exit(128 + signal.SIGINT)
    if any(isinstance(outcome, Failure) for outcome in found):
        raise typer.Exit(2)


def _check_options(
    files: list[Path], stream: bool, microphone: bool, as_json: bool, form: Format | None
) -> None:
    if microphone == bool(files):
        raise OptionError("name audio files or --microphone, one of the two.")
    if as_json and (stream or microphone):
        raise OptionError("--json prints final results of files; leave out --stream, --microphone.")
    if form is not None and (as_json or stream or microphone):
        raise OptionError(
            "--format is another way to print; leave out --json, --stream, --microphone."
        )


def _attempt(
    recognizer: Recognizer | OfflineRecognizer,
    files: Iterable[Path],
    recognise: Callable[[Recognizer | OfflineRecognizer, Path], Transcript],
    progress: Callable[[str], None] | None = None,
) -> list[Transcript | Failure]:
    """Recognise files; one that cannot be read does not end the others, and Ctrl-C ends them."""
    found: list[Transcript | Failure] = []
    for path in files:
        if progress is not None:
            progress(f"transcribe {escape(str(path))}")
        try:
            found.append(recognise(recognizer, path))
        except DeployBiasError as error:
            found.append(Failure(path, str(error)))
        except Interruption as stop:
            return [*found, stop.transcript]
    return found


def _play(recognizer: Recognizer | OfflineRecognizer, path: Path) -> Transcript:
    """Show the text of a file as it grows."""
    out.rule(Text(shown(path.name)))
    interruption = None
    with Live(console=out, transient=True) as live:
        try:
            found = transcribe(recognizer, path, show=lambda r: live.update(Text(r.text)))
        except Interruption as stop:
            interruption, found = stop, stop.transcript
    out.print(Text(found.recognition.text))
    out.print(f"{found.seconds:.1f} s of audio, real-time factor {_factor(found)}")
    if interruption is not None:
        raise interruption
    return found


def _listen(recognizer: Recognizer, blocks: Iterable[Block]) -> None:
    """Show what a microphone hears, a line for each utterance, until Ctrl-C."""
    try:
        with recognizer.create_stream() as stream, Live(console=out, transient=True) as live:
            for number, block in enumerate(blocks):
                if not number:
                    live.console.print("listening; Ctrl-C ends")
                stream.accept_waveform(block.sample_rate, block.samples)
                while recognizer.is_ready(stream):
                    recognizer.decode_stream(stream)
                text = Text(recognizer.get_result(stream).text)
                live.update(text)
                if recognizer.is_endpoint(stream):
                    if text:
                        live.console.print(text)
                    live.update(Text())
                    recognizer.reset(stream)
    except KeyboardInterrupt:
        out.print("done")


def _print(found: Iterable[Transcript | Failure], form: Format | None) -> None:
    if form is not None:
        _print_as(form, [outcome for outcome in found if isinstance(outcome, Transcript)])
        return
    table = Table()
    table.add_column("audio", overflow="fold")
    for heading in ("seconds", "real-time factor"):
        table.add_column(heading, justify="right")
    table.add_column("text", overflow="fold")
    for outcome in found:
        if isinstance(outcome, Transcript):
            text = Text(outcome.recognition.text)
            seconds = f"{outcome.seconds:.1f}"
            table.add_row(Text(shown(outcome.file.name)), seconds, _factor(outcome), text)
    if table.rows:
        print_table(table)


def _print_as(form: Format, found: Iterable[Transcript]) -> None:
    if form != Format.words:
        heard = [(outcome.file, outcome.recognition) for outcome in found]
        write(FORMATS[form.value](heard))
        return
    table = Table(caption="confidence: mean natural log-probability of a word's tokens; 0 is sure")
    table.add_column("audio", overflow="fold")
    for heading in ("start", "end", "confidence"):
        table.add_column(heading, justify="right")
    table.add_column("word", overflow="fold")
    for outcome in found:
        begun = outcome.recognition.start_time
        for word in outcome.recognition.words:
            times = (f"{begun + time:.2f}" for time in (word.start, word.end))
            name = Text(shown(outcome.file.name))
            table.add_row(name, *times, f"{word.confidence:.3f}", Text(word.text))
    print_table(table)


def _factor(found: Transcript) -> str:
    factor = found.real_time_factor
    return "-" if factor is None else f"{factor:.3f}"
