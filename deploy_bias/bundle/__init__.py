"""The bundle on disk and its contract. No torch here."""

from deploy_bias.bundle.bundle import MANIFEST, PARITY, Bundle

__all__ = ["MANIFEST", "PARITY", "Bundle"]
