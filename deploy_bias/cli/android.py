"""deploy-bias android."""

import hashlib
import json
from pathlib import Path
from typing import Annotated

import typer

from deploy_bias.bundle import MANIFEST, PARITY, Bundle
from deploy_bias.cli.assets import WAVS, check_streams, heard_recordings, write_folder
from deploy_bias.cli.console import Debug, out
from deploy_bias.errors import BundleError, SourceError

ASSETS = Path("app/src/main/assets")
BACKENDS = ("onnx", "executorch")
"""Those that the app has."""
NEXT = """\
Open {project} in Android Studio and run `app`, or, with the Android SDK, Gradle and a phone:
  gradle -p {project} installDebug
  adb shell am start -n org.deploybias.app/.MainActivity"""


def run(
    bundle: Annotated[Path, typer.Argument(help="A folder that `deploy-bias export` wrote.")],
    project: Annotated[
        Path, typer.Option(help="The folder android_demo of the repository.")
    ] = Path("android_demo"),
    debug: Debug = False,
) -> None:
    """Put a bundle into the assets of the Android demo, and say what to run next."""
    opened = Bundle(bundle)
    assets = project / ASSETS
    if not (project / "app").is_dir():
        raise SourceError(
            f"{project}: holds no app; name the folder android_demo of the repository by --project."
        )
    written = write_assets(opened, assets)
    for path, size in written.items():
        out.print(f"  {size:>12,}  {path}", highlight=False)
    out.print(f"{assets}: {len(written)} files, {sum(written.values()):,} bytes", soft_wrap=True)
    out.print(NEXT.format(project=project), markup=False, highlight=False, soft_wrap=True)


def write_assets(bundle: Bundle, assets: Path) -> dict[str, int]:
    """Write index.json, bundle/ and recordings/: all of them or nothing.

    Args:
        bundle: its files are checked by their hashes.
        assets: the folder; what it held is replaced.

    Returns:
        The bytes of each file.

    Raises:
        BundleError: a file is missing or changed, or no backend of the app has one.
    """
    manifest = bundle.manifest
    artifacts = [artifact for artifact in manifest.artifacts if artifact.backend in BACKENDS]
    if not artifacts:
        raise BundleError(
            f"{bundle.folder}: has nothing for {' or '.join(BACKENDS)}, the runtimes of the app; "
            "export again with one of them."
        )
    if not any(artifact.precision == "fp32" for artifact in artifacts):
        raise BundleError(f"{bundle.folder}: has no fp32, which the app takes; export it too.")
    check_streams(bundle, artifacts, "the app")
    optional = (manifest.limits, manifest.tokens, manifest.bpe_model)
    wanted = [*artifacts, manifest.vectors, *(file for file in optional if file is not None)]
    contents = {file.path: bundle.read(file) for file in wanted}
    for name in (MANIFEST, PARITY):
        path = bundle.folder / name
        if not path.is_file():
            raise BundleError(f"{path}: missing; export again.")
        contents[name] = path.read_bytes()
    entries = [
        {"path": path, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        for path, data in sorted(contents.items())
    ]
    recordings = heard_recordings(bundle, artifacts[0])
    index = {
        "sha256": hashlib.sha256(json.dumps(entries).encode()).hexdigest(),
        "bundle": entries,
        "recordings": recordings,
    }
    everything = {
        "index.json": json.dumps(index, indent=1).encode(),
        **{f"bundle/{path}": data for path, data in contents.items()},
        **{f"recordings/{name}": (WAVS / name).read_bytes() for name in recordings},
    }
    write_folder(assets, everything)
    return {name: len(data) for name, data in everything.items()}
