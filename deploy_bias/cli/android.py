"""deploy-bias android."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from deploy_bias.bundle import MANIFEST, PARITY, Bundle
from deploy_bias.bundle.manifest import Artifact
from deploy_bias.cli.console import Debug, out
from deploy_bias.errors import BundleError, SourceError
from deploy_bias.packages import needed

ASSETS = Path("app/src/main/assets")
WAVS = Path(str(files("deploy_bias"))) / "data/digits/wavs"
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
    _check_artifacts(bundle, artifacts)
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
    recordings = _recordings(bundle, artifacts[0].backend)
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
    assets.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".assets-", dir=assets.parent) as scratch:
        fresh = Path(scratch) / "fresh"
        for name, data in everything.items():
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            (fresh / name).write_bytes(data)
        if assets.exists():
            shutil.move(assets, Path(scratch) / "old")
        fresh.rename(assets)
    return {name: len(data) for name, data in everything.items()}


def _check_artifacts(bundle: Bundle, artifacts: Sequence[Artifact]) -> None:
    """Raise a BundleError for what the app cannot run."""
    graphs = [graph for artifact in artifacts for graph in artifact.graphs]
    if not any(artifact.precision == "fp32" for artifact in artifacts):
        raise BundleError(f"{bundle.folder}: has no fp32, which the app takes; export it too.")
    if any(graph.kind.startswith("offline") for graph in graphs):
        raise BundleError(
            f"{bundle.folder}: takes whole utterances, and the app streams; export without "
            "--offline."
        )
    for graph in graphs:
        if graph.kind == "decoder" and graph.inputs[0].shape[0] != 1:
            raise BundleError(
                f"{bundle.folder}: takes {graph.inputs[0].shape[0]} hypotheses a call, and the app "
                "feeds one; export with --batch 1."
            )


def _recordings(bundle: Bundle, backend: str) -> dict[str, str]:
    """Return what is heard in each shipped recording; none if the model cannot hear them."""
    with needed("soundfile", "reading the recordings"):
        import soundfile

    from deploy_bias.runtime import Recognizer

    try:
        recognizer = Recognizer(bundle, backend)
    except BundleError:  # no encoder
        return {}
    heard = {}
    for path in sorted(WAVS.glob("*.wav")):
        samples, rate = soundfile.read(path, dtype="float32")
        if rate == recognizer.sample_rate:
            heard[path.name] = recognizer.decode(samples, rate).text
    return heard
