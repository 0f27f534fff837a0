"""JUnit XML, which every CI reads: a test case for each output of each case."""

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from deploy_bias.export.parity.results import GraphResult, Report
from deploy_bias.export.reports.baseline import ALLOWED, Growth

ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
"""What XML cannot hold, and an error of a runtime can."""

COUNTS = {"tests": "testcase", "failures": "failure", "errors": "error", "skipped": "skipped"}


def render(title: str, report: Report, growths: Sequence[Growth]) -> str:
    """Return a suite a backend and precision, and one of what grew."""
    root = ElementTree.Element("testsuites", name=f"export parity of {title}")
    suites: dict[str, ElementTree.Element] = {}
    for result in report.results:
        name = f"{result.backend} {result.precision}"
        if name not in suites:
            suites[name] = ElementTree.SubElement(root, "testsuite", name=name)
        _add(suites[name], result)
    for name in report.without:
        suite = ElementTree.SubElement(root, "testsuite", name=name)
        case = ElementTree.SubElement(suite, "testcase", classname=name, name="all graphs")
        ElementTree.SubElement(case, "skipped", message="left out by name")
    for line in report.remarks:
        ElementTree.SubElement(root, "system-out").text = line
    for one in report.deviations:
        if not one.needed:
            suite = ElementTree.SubElement(root, "testsuite", name="allowed")
            _case(suite, one.name, "allow", one.why)
    if growths:
        suite = ElementTree.SubElement(root, "testsuite", name="baseline")
        for growth in growths:
            _case(suite, growth.subject, growth.measure, f"{growth.why} ({ALLOWED})")
    for element in (*root, root):
        for attribute, tag in COUNTS.items():
            element.set(attribute, str(len(element.findall(f".//{tag}"))))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _add(suite: ElementTree.Element, result: GraphResult) -> None:
    for case in result.cases:
        _case(suite, result.graph, f"{case.case}: {case.output}", None if case.passed else case.why)
    if result.agreement is not None:
        agreement = result.agreement
        _case(suite, result.graph, "labels", None if agreement.passed else agreement.why)
    if result.problem is not None or not (result.cases or result.agreement):
        _case(suite, result.graph, result.artifact, result.why, "error")


def _case(
    suite: ElementTree.Element, graph: str, name: str, why: str | None, tag: str = "failure"
) -> None:
    case = ElementTree.SubElement(suite, "testcase", classname=graph, name=name)
    if why is not None:
        text = ILLEGAL.sub("?", why)
        ElementTree.SubElement(case, tag, message=text).text = text
