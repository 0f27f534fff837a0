"""Reports of a verification, one file a format: the suffix of a path says which."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from deploy_bias.errors import OptionError
from deploy_bias.export.parity.results import Report
from deploy_bias.export.reports import html, json, junit, markdown
from deploy_bias.export.reports.baseline import Growth
from deploy_bias.files import check_writable, write_whole


class Format(Protocol):
    """What a file of this folder defines."""

    def render(self, title: str, report: Report, growths: Sequence[Growth]) -> str:
        """Return the text of the file."""


FORMATS: dict[str, Format] = {
    ".xml": junit,
    ".md": markdown,
    ".json": json,
    ".html": html,
}


def check_paths(paths: Iterable[Path], option: str = "--report") -> None:
    """See that reports can be written, before the work that fills them.

    Raises:
        OptionError: a path is of no format, or cannot be written.
        BackendError: a package that a format needs is not installed.
    """
    for path in paths:
        if path.suffix not in FORMATS:
            raise OptionError(
                f"{option} {path}: expected a file that ends in {', '.join(FORMATS)}."
            )
        if path.suffix == ".html":
            html.check_packages()
        check_writable(path, option)


def write_reports(
    paths: Iterable[Path], title: str, report: Report, growths: Sequence[Growth] = ()
) -> None:
    """Write a report to each path, in the format of its suffix.

    Args:
        paths: see `check_paths`.
        title: names what was verified.
        report: what was found.
        growths: what is past a baseline, see `deploy_bias.export.reports.baseline`.
    """
    for path in paths:
        write_whole(path, FORMATS[path.suffix].render(title, report, growths))
