"""One page that holds all it shows: verdicts, the error by step, and by stage of the export."""

import importlib
from collections.abc import Sequence
from importlib.resources import files

from deploy_bias.export.parity.results import GraphResult, Report
from deploy_bias.export.reports.baseline import ALLOWED, Growth
from deploy_bias.export.reports.errors import error_figure
from deploy_bias.packages import needed


def check_packages() -> None:
    """Raise a BackendError if what renders is not installed."""
    for package in ("jinja2", "matplotlib"):
        with needed(package, "an HTML report"):
            importlib.import_module(package)


def render(title: str, report: Report, growths: Sequence[Growth]) -> str:
    """Return a page without any link to elsewhere."""
    import jinja2

    graphs: dict[str, list[GraphResult]] = {}
    for result in report.results:
        graphs.setdefault(result.graph, []).append(result)
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    text = files(__package__).joinpath("report.html.jinja").read_text("utf-8")
    page: str = environment.from_string(text).render(
        title=title,
        report=report,
        growths=growths,
        allowed=ALLOWED,
        passed=report.passed and not growths,
        compared=sum(len(result.cases) for result in report.results),
        failed=[result for result in report.results if not result.passed],
        graphs=graphs,
        # What failed is drawn first.
        sections=sorted(graphs, key=lambda name: all(result.passed for result in graphs[name])),
        figures={name: error_figure(results) for name, results in graphs.items()},
    )
    return page
