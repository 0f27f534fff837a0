"""The command `deploy-bias`: one file a command.

Exit status: 0 done, 1 a graph does not match, 2 the request cannot be carried out.
"""

import signal
import sys

import typer

from deploy_bias.cli import android, decode, evaluate, transcribe
from deploy_bias.cli.console import errors
from deploy_bias.errors import DeployBiasError
from deploy_bias.export.cli import demo, export, inspect, testdata, verify

app = typer.Typer(
    name="deploy-bias",
    help="Export an ESPnet MEGA transducer for devices, with proof of parity.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (
    export,
    verify,
    inspect,
    testdata,
    transcribe,
    evaluate,
    decode,
    android,
    demo,
):
    app.command(name=command.__name__.rpartition(".")[2])(command.run)


def main() -> None:
    """Run the command line; every error is one line, unless --debug asks for the traceback."""
    # Like Ctrl-C: what was begun is cleaned up. Status 143 is what the shell says of a SIGTERM.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        app()  # leaves by SystemExit, usage errors with status 2
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        text = " ".join(str(error).split()) or type(error).__name__
        if not isinstance(error, DeployBiasError):
            text = f"{type(error).__name__}: {text} (not foreseen; --debug shows where)"
        errors.print(f"error: {text}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(error.exit_status if isinstance(error, DeployBiasError) else 2)
