"""From an ESPnet checkpoint to a bundle, and the proof that the bundle is right.

from deploy_bias import RelativePositionBias
from export import export_bundle
export_bundle(RelativePositionBias(64), "my-bundle")
"""

from export.bundle import export_bundle
from export.checkpoint import Source, read_source
from export.parity import Mismatch, Report, verify
from export.plot import plot_biases

__all__ = [
    "Mismatch",
    "Report",
    "Source",
    "export_bundle",
    "plot_biases",
    "read_source",
    "verify",
]
