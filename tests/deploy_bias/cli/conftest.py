"""The command in this process."""

import sys

import pytest

from deploy_bias import cli


@pytest.fixture
def run(monkeypatch, capfd):
    """Run the command in this process; return exit status, stdout and stderr."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["deploy-bias", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            cli.main()
        written = capfd.readouterr()
        return stop.value.code or 0, written.out, written.err

    return call
