"""From an ESPnet checkpoint to a bundle, and the proof that the bundle is right.

from deploy_bias import RelativePositionBias
from deploy_bias.export import export_bundle
export_bundle(RelativePositionBias(64), "my-bundle")

What is here needs torch and the exporters, and loads on first use: the command line starts
without them.
"""

from typing import TYPE_CHECKING, Any

from deploy_bias.packages import load

if TYPE_CHECKING:
    from deploy_bias.export.bundle import export_bundle
    from deploy_bias.export.options import ExportOptions
    from deploy_bias.export.parity.gate import verify
    from deploy_bias.export.parity.results import Mismatch, Report
    from deploy_bias.export.plot import plot_biases
    from deploy_bias.export.reports import check_paths, write_reports
    from deploy_bias.export.reports.baseline import ALLOWED, growths, read_baseline
    from deploy_bias.export.sources import Source, read_source
    from deploy_bias.export.testdata import write_test_data

__all__ = [
    "ALLOWED",
    "ExportOptions",
    "Mismatch",
    "Report",
    "Source",
    "check_paths",
    "export_bundle",
    "growths",
    "plot_biases",
    "read_baseline",
    "read_source",
    "verify",
    "write_reports",
    "write_test_data",
]
_HOME = {
    "ALLOWED": "reports.baseline",
    "ExportOptions": "options",
    "Mismatch": "parity.results",
    "Report": "parity.results",
    "Source": "sources",
    "check_paths": "reports",
    "export_bundle": "bundle",
    "growths": "reports.baseline",
    "plot_biases": "plot",
    "read_baseline": "reports.baseline",
    "read_source": "sources",
    "verify": "parity.gate",
    "write_reports": "reports",
    "write_test_data": "testdata",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return load(f"{__name__}.{_HOME[name]}", name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
