"""Markdown for the summary of a pull request."""

from collections.abc import Iterable, Iterator, Sequence

from deploy_bias.export.parity.results import (
    CaseResult,
    GraphResult,
    Report,
    Smallest,
    WrongOperator,
)
from deploy_bias.export.reports.baseline import ALLOWED, Growth


def render(title: str, report: Report, growths: Sequence[Growth]) -> str:
    """Return a verdict, what failed and where, and a table of all."""
    return "\n".join([*_lines(title, report, growths), ""])


def _lines(title: str, report: Report, growths: Sequence[Growth]) -> Iterator[str]:
    failed = [result for result in report.results if not result.passed]
    passed = report.passed and not growths
    yield f"## Export parity of {_plain(title)}: {'passed' if passed else 'FAILED'}"
    yield ""
    cases = sum(len(result.cases) for result in report.results)
    grown = f", {len(growths)} measures grown past the baseline" if growths else ""
    yield (
        f"{len(report.results)} graphs by backend and precision, {cases:,} outputs compared with "
        f"float64: {len(failed) or 'none'} failed{grown}."
    )
    if report.without:
        yield from ["", f"Left out by name: {', '.join(report.without)}."]
    if report.remarks:
        yield from ["", *(f"- {_plain(line)}" for line in report.remarks)]
    for result in failed:
        yield from _failure(result)
    if growths:
        yield from ["", "### Grown past the baseline", ""]
        yield from (f"- {_plain(growth.why)}" for growth in growths)
        yield from ["", f"({ALLOWED})"]
    yield ""
    yield from _table(
        (
            "graph",
            "backend",
            "cases",
            "decided",
            "error, worst",
            "over eager's",
            "labels",
            "verdict",
        ),
        [_row(result) for result in report.results],
    )


def _failure(result: GraphResult) -> Iterator[str]:
    yield from ["", f"### {_plain(result.graph)} on {result.backend}, {result.precision}", ""]
    yield _plain(result.why)
    for case in result.worst_by_output:
        if not case.passed and case.stages:
            yield from ["", f"`{case.output}` after each stage of the export:", ""]
            yield from _table(("stage", "error", ""), _stages(case))
        if case.wrong is not None:
            yield from ["", f"First wrong operator: {_plain(case.wrong.why)}."]
            yield from _values(case.wrong)
        if case.smallest is not None:
            at = case.smallest.worst
            yield from [
                "",
                f"Smallest failing case, {_steps(case.smallest)}: got {at['got']}, "
                f"eager {at['eager']}, float64 {at['float64']}.",
                "",
                "```text",
            ]
            yield from case.smallest.inputs
            yield "```"


def _values(wrong: WrongOperator) -> Iterator[str]:
    if wrong.worst:
        at = wrong.worst
        yield (
            f"There at {at['index']}: got {at['got']}, eager {at['eager']}, float64 "
            f"{at['float64']}; {wrong.budget:.1e} is allowed."
        )


def _steps(smallest: Smallest) -> str:
    return f"{smallest.steps} step{'' if smallest.steps == 1 else 's'}"


def _stages(case: CaseResult) -> list[tuple[str, str, str]]:
    return [
        (
            found.stage,
            _plain(found.problem or f"{found.error:.1e}"),
            "" if found.passed else "**wrong**",
        )
        for found in case.stages
    ]


def _row(result: GraphResult) -> tuple[str, ...]:
    worst, agreement = result.worst, result.agreement
    error = "-"
    if worst is not None:
        error = f"{worst.error:.1e}"
    elif agreement is not None:
        error = f"{agreement.distance:.1%}"
    return (
        _plain(result.graph),
        f"{result.backend} {result.precision}",
        str(len(result.cases) or "-"),
        # Of the case and output that decides least.
        f"{int(100 * min(case.decided for case in result.cases))} %" if result.cases else "-",
        error,
        "-" if worst is None else f"{worst.error_by_eager:.2f}",
        # Cut and not rounded: 100 % means all.
        "-" if agreement is None else agreement.percent,
        "pass" if result.passed else "**FAIL**",
    )


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(headings)} |"
    yield f"|{' --- |' * len(headings)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _plain(text: str) -> str:
    """Return text that Markdown shows as it is, in a line."""
    escaped = "".join(f"\\{c}" if c in "\\`*_[]<>|#" else c for c in text)
    return " ".join(escaped.split())
