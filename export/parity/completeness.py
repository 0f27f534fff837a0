"""Whether a manifest lists all that was exported: what is not listed is not verified."""

from pathlib import PurePosixPath

from deploy_bias.bundle import Bundle
from deploy_bias.errors import BundleError
from deploy_bias.export.backends import exporter
from deploy_bias.runtime.backends import BACKENDS, backend


def check_complete(bundle: Bundle) -> None:
    """See that no artifact lies in the folder unlisted, and no backend lacks what another has.

    Raises:
        BundleError: one does.
    """
    manifest = bundle.manifest
    suffixes = {backend(name).SUFFIX for name in BACKENDS}
    listed = {PurePosixPath(file.path).name for file in manifest.files}
    unlisted = sorted(
        path.name
        for path in bundle.folder.iterdir()
        if path.suffix in suffixes and path.name not in listed
    )
    if unlisted:
        raise BundleError(
            f"{bundle.folder}: holds {', '.join(unlisted)}, which the manifest does not list, so "
            "nothing vouches for it; export again."
        )
    has: dict[tuple[str, str], set[str]] = {}
    for artifact in manifest.artifacts:
        names = {graph.name for graph in artifact.graphs}
        has.setdefault((artifact.backend, artifact.precision), set()).update(names)
    everything = set().union(*has.values())
    offline = {
        graph.name
        for artifact in manifest.artifacts
        for graph in artifact.graphs
        if graph.kind.startswith("offline")
    }
    for (name, precision), graphs in has.items():
        able = everything if exporter(name).OFFLINE else everything - offline
        if lacking := sorted(able - graphs):
            raise BundleError(
                f"{bundle.folder}: the manifest lists no {', '.join(lacking)} on {name}, "
                f"{precision}, which another backend or precision has; export again."
            )
