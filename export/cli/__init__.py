"""The command `deploy-bias`: one file a command, imported when the command is called.

Exit status: 0 done, 1 a graph does not match, 2 the request cannot be carried out.
"""

import importlib
import signal
import sys
from typing import Any

import typer
from typer.core import TyperCommand

from deploy_bias.cli import terminal
from deploy_bias.errors import BackendError, DeployBiasError, SourceError
from deploy_bias.packages import message, missing

COMMANDS = {
    "export": (
        "deploy_bias.export.cli.export",
        "Write a bundle: the graphs of SOURCE, each proven to compute what eager does.",
    ),
    "verify": (
        "deploy_bias.export.cli.verify",
        "Run every artifact against eager float32 and float64; exit with 1 on any mismatch.",
    ),
    "check": (
        "deploy_bias.cli.check",
        "Run the stored cases on this machine against what eager computed; exit with 1 if wrong.",
    ),
    "gate": (
        "deploy_bias.export.cli.gate",
        "Compare files with the eager module that they were made of; exit with 1 on a mismatch.",
    ),
    "inspect": (
        "deploy_bias.export.cli.inspect",
        "Sum up a bundle: sizes, share delegated, what is left outside, and versions.",
    ),
    "testdata": (
        "deploy_bias.export.cli.testdata",
        "Write test data for other runners: ONNX test data sets and ExecuTorch's .bpte.",
    ),
    "transcribe": (
        "deploy_bias.cli.transcribe",
        "Recognise speech, from audio files or a microphone.",
    ),
    "evaluate": (
        "deploy_bias.cli.evaluate",
        "Measure word errors, speed and latency of each backend and precision on recordings.",
    ),
    "explain": (
        "deploy_bias.export.cli.explain",
        "Show where words are lost, one change at a time between eager float32 and each backend.",
    ),
    "decode": (
        "deploy_bias.cli.decode",
        "Decode encoder frames: the search over the decoder and the joint network.",
    ),
    "android": (
        "deploy_bias.cli.android",
        "Put a bundle into the assets of the Android demo, and say what to run next.",
    ),
    "web": (
        "deploy_bias.cli.web",
        "Write a page that hears by a bundle and proves it, as files for any static host.",
    ),
    "demo": (
        "deploy_bias.export.cli.demo",
        "Export and prove the small model in the package, then hear people speak.",
    ),
}
"""In the order of the help: the module whose `run` is the command, and what it does.

What it does stands here, so that the help of all imports none of them.
"""


class LazyCommand(TyperCommand):
    """A command that is imported when it is called."""

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **more: Any) -> Any:
        """Import the command, and let it read its arguments."""
        assert self.name is not None
        only = typer.Typer(add_completion=False)
        run = importlib.import_module(COMMANDS[self.name][0]).run
        only.command(name=self.name, help=self.help)(run)
        return typer.main.get_command(only).make_context(info_name, args, *rest, **more)


def _nothing() -> None:
    """Stand for a command until it is imported."""


app = typer.Typer(
    name="deploy-bias",
    help="Export an ESPnet transducer for devices, with proof of parity.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for name, (_, summary) in COMMANDS.items():
    app.command(name=name, cls=LazyCommand, help=summary)(_nothing)


def main() -> None:
    """Run the command line; every error is one line, unless --debug asks for the traceback."""
    # Like Ctrl-C: what was begun is cleaned up. Status 143 is what the shell says of a SIGTERM.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    terminal.prepare()
    try:
        app()  # leaves by SystemExit, usage errors with status 2
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        if isinstance(error, ImportError) and (package := missing(error)):
            error = BackendError(message(package, "this command", error))
        if isinstance(error, OSError) and error.filename and error.strerror:
            why = f"{error.filename}: {error.strerror.lower()}"  # a path of theirs, or a full disk
            error = SourceError(f"{why}; name another path, or change what the system forbids.")
        text = terminal.one_line(str(error)) or type(error).__name__
        if not isinstance(error, DeployBiasError):
            text = f"{type(error).__name__}: {text} (not foreseen; --debug shows where)"
        sys.stderr.write(f"error: {text}\n")
        sys.exit(error.exit_status if isinstance(error, DeployBiasError) else 2)
