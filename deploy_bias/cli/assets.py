"""What is put into the demos on a phone and in a browser: files of a bundle, and recordings."""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from deploy_bias.bundle import Bundle
from deploy_bias.bundle.manifest import Artifact
from deploy_bias.cli.audio import AudioFile
from deploy_bias.errors import BundleError

WAVS = Path(str(files("deploy_bias"))) / "data/digits/wavs"


def check_streams(bundle: Bundle, artifacts: Sequence[Artifact], demo: str) -> None:
    """Raise a BundleError for what a demo cannot run.

    Args:
        bundle: for the error.
        artifacts: that it would run.
        demo: its name, as in "the app".
    """
    graphs = [graph for artifact in artifacts for graph in artifact.graphs]
    if any(graph.kind.startswith("offline") for graph in graphs):
        raise BundleError(
            f"{bundle.folder}: takes whole utterances, and {demo} streams; export without "
            "--offline."
        )
    for graph in graphs:
        if graph.kind == "decoder" and graph.inputs[0].shape[0] != 1:
            raise BundleError(
                f"{bundle.folder}: takes {graph.inputs[0].shape[0]} hypotheses a call, and {demo} "
                "feeds one; export with --batch 1."
            )


def heard_recordings(bundle: Bundle, artifact: Artifact) -> dict[str, str]:
    """Return what is heard in each shipped recording; none if the model cannot hear them.

    Args:
        bundle: that hears.
        artifact: whose backend and precision hear them.

    Raises:
        BackendError: av is not installed.
    """
    from deploy_bias.runtime import Recognizer

    try:
        recognizer = Recognizer(bundle, artifact.backend, precision=artifact.precision)
    except BundleError:  # no encoder
        return {}
    heard = {}
    for path in sorted(WAVS.glob("*.wav")):
        audio = AudioFile(path).read()
        if audio.sample_rate == recognizer.sample_rate:
            heard[path.name] = recognizer.decode(audio.samples, audio.sample_rate).text
    return heard


def write_folder(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write a folder whole or not at all; what it held is replaced."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
        fresh = Path(scratch) / "fresh"
        for name, data in contents.items():
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            (fresh / name).write_bytes(data)
        if folder.exists():
            shutil.move(folder, Path(scratch) / "old")
        fresh.rename(folder)
