"""What needs torch and the exporters, imported when a command first asks for it."""

from deploy_bias.errors import BackendError

try:
    from export.bundle import export_bundle
    from export.parity import verify
    from export.plot import plot_biases
    from export.testdata import write_test_data
except ImportError as error:
    raise BackendError(
        f"this command needs {error.name}, which is not installed: "
        "pip install 'deploy-bias[export]'."
    ) from error

__all__ = ["export_bundle", "plot_biases", "verify", "write_test_data"]
