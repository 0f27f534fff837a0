"""The pytest plugin: `pytest --export-parity=report.html` collects what a session compared.

The suffix says what is written: .html, .xml (JUnit), .md or .json.

The fixture `export_parity` is `assert_export_parity`, with the arguments of the marker
`export_parity` for defaults. Calls without the fixture are collected too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy_bias import testing
from deploy_bias.errors import DeployBiasError
from deploy_bias.files import write_whole

OPTION = "--export-parity"
MARKER = "export_parity"
SENT = "deploy_bias_export_parity"
"""The comparisons of a worker of pytest-xdist, on their way to the controller."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.getgroup("deploy_bias").addoption(
        OPTION,
        metavar="PATH",
        type=Path,
        help="write what this session compared with eager: .html, .xml (JUnit), .md or .json",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Name the marker, and start to collect."""
    config.addinivalue_line(
        "markers",
        f"{MARKER}(**arguments): compares exports with eager; the arguments are defaults of the "
        "fixture export_parity.",
    )
    if (path := config.getoption(OPTION)) is not None:
        try:
            from deploy_bias.export import check_paths

            check_paths([path], OPTION)
        except DeployBiasError as error:
            raise pytest.UsageError(str(error)) from error
    config.pluginmanager.register(_Collector(config), "deploy_bias.collector")


@pytest.fixture
def export_parity(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Return `assert_export_parity`, with the arguments of the test's marker for defaults."""
    marker = request.node.get_closest_marker(MARKER)
    defaults = {} if marker is None else marker.kwargs

    def compare(module: Any, example_inputs: Any, **arguments: Any) -> Any:
        return testing.assert_export_parity(module, example_inputs, **{**defaults, **arguments})

    return compare


class _Collector:
    """What was compared, in this process and in the workers."""

    def __init__(self, config: pytest.Config) -> None:
        self.path: Path | None = config.getoption(OPTION)
        self.output: dict[str, Any] | None = getattr(config, "workeroutput", None)
        self.comparisons: list[dict[str, Any]] = []
        self.lost: list[str] = []

    def add(self, report: dict[str, Any]) -> None:
        test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" (")[0]
        self.comparisons.append({"test": test, **report})

    def pytest_sessionstart(self) -> None:
        testing.observers.append(self.add)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        sent = getattr(node, "workeroutput", {}).get(SENT)
        if sent is None:
            self.lost.append(f"{node.gateway.id}: {error}")
        else:
            self.comparisons += json.loads(sent)

    def pytest_sessionfinish(self) -> None:
        testing.observers.remove(self.add)
        if self.output is not None:
            self.output[SENT] = json.dumps(self.comparisons)
        elif self.path is not None:
            self._write(self.path)

    def _write(self, path: Path) -> None:
        found = sorted(self.comparisons, key=lambda comparison: str(comparison["test"]))
        if path.suffix == ".json":
            passed = bool(found) and not self.lost and all(one["passed"] for one in found)
            content = {"passed": passed, "lost_workers": self.lost, "comparisons": found}
            write_whole(path, json.dumps(content, indent=1) + "\n")
            return
        from deploy_bias.export import Report, write_reports

        write_reports([path], "this test session", Report.of_session(found, self.lost))

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self.path is None:
            return
        failed = sum(not one["passed"] for one in self.comparisons)
        terminalreporter.write_line(
            f"export parity: {len(self.comparisons)} compared, {failed} failed, "
            f"{len(self.lost)} workers lost; written to {self.path}"
        )
