"""The command `deploy-bias`: one file a command.

Exit status: 0 done, 1 a graph does not match, 2 the request cannot be carried out.
"""

import sys

import click
import typer

from deploy_bias.cli import demo, export, inspect, verify
from deploy_bias.cli.console import errors
from deploy_bias.errors import DeployBiasError

app = typer.Typer(
    name="deploy-bias",
    help="Export the relative position biases of an ESPnet MEGA transducer, with proof of parity.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (export, verify, inspect, demo):
    app.command(name=command.__name__.rpartition(".")[2])(command.run)


def main() -> None:
    """Run the command line; every error is one line, unless --debug asks for the traceback."""
    try:
        status = app(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        errors.print("interrupted")
        status = 130
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        known = isinstance(error, DeployBiasError)
        text = " ".join(str(error).split()) or type(error).__name__
        if not known:
            text = f"{type(error).__name__}: {text} (not foreseen: run again with --debug)"
        errors.print(f"error: {text}", markup=False, highlight=False, soft_wrap=True)
        status = 1 if getattr(error, "is_mismatch", False) else 2
    sys.exit(status or 0)
