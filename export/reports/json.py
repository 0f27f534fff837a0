"""What parity.json holds, the errors of each step, and what grew."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from deploy_bias.export.parity.results import Report
from deploy_bias.export.reports.baseline import Growth


def render(title: str, report: Report, growths: Sequence[Growth]) -> str:
    """Return all that a report tells, and `growths`."""
    content = {
        "title": title,
        **report.to_dict(),
        "growths": [asdict(growth) for growth in growths],
    }
    return json.dumps(content, indent=1, allow_nan=False) + "\n"
