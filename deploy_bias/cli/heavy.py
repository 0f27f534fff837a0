"""What needs torch and the exporters, imported when a command first asks for it."""

from deploy_bias.errors import BackendError

try:
    from export.baseline import ALLOWED, growths, read_baseline
    from export.bundle import export_bundle
    from export.parity import verify
    from export.plot import plot_biases
    from export.reports import check_paths, write_reports
    from export.testdata import write_test_data
except ImportError as error:
    raise BackendError(
        f"this command needs {error.name}, which is not installed: "
        "pip install 'deploy-bias[export]'."
    ) from error

__all__ = [
    "ALLOWED",
    "check_paths",
    "export_bundle",
    "growths",
    "plot_biases",
    "read_baseline",
    "verify",
    "write_reports",
    "write_test_data",
]
