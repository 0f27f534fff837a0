"""A bundle on disk, opened and checked. Needs neither torch nor any backend."""

import hashlib
import json
from pathlib import Path
from typing import TypeVar

import numpy as np
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load

from deploy_bias.bundle.contract import Precision
from deploy_bias.bundle.manifest import FORMAT, FORMAT_VERSION, Artifact, File, Label, Manifest
from deploy_bias.errors import BackendError, BundleError

MANIFEST = "manifest.json"
PARITY = "parity.json"

_Model = TypeVar("_Model", bound=BaseModel)


class Bundle:
    """The folder that `export` writes and every runtime reads.

    Args:
        folder: where manifest.json lies.

    Raises:
        BundleError: the folder or its manifest is missing, corrupt, foreign or of another version.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        path = self.folder / MANIFEST
        try:
            data = path.read_bytes()
        except (OSError, ValueError) as error:
            what = _missing(self.folder, error)
            raise BundleError(
                f"{self.folder}: {what}; expected a bundle, the folder that `deploy-bias export` "
                "writes."
            ) from error
        self.manifest = parse(Manifest, data, str(path))

    def read(self, file: File) -> bytes:
        """Return the bytes of a file of the manifest.

        Raises:
            BundleError: it is missing, lies outside the folder, or its hash differs.
        """
        path = self.folder / file.path
        try:
            if not path.is_file():
                raise BundleError(f"{path}: missing, but the manifest lists it; export again.")
            if not path.resolve().is_relative_to(self.folder.resolve()):
                raise BundleError(f"{path}: a link that leaves the bundle; export again.")
            data = path.read_bytes()
        except OSError as error:
            raise BundleError(f"{path}: {error.strerror}; make it readable.") from error
        found = hashlib.sha256(data).hexdigest()
        if found != file.sha256 or len(data) != file.bytes:
            raise BundleError(
                f"{path}: sha256 {found[:12]}…, {len(data)} bytes; the manifest says "
                f"{file.sha256[:12]}…, {file.bytes} bytes. It was changed or cut; export again."
            )
        return data

    def tensors(self, file: File) -> dict[str, np.ndarray]:
        """Return the tensors of a safetensors file of the manifest (`weights`, `vectors`)."""
        data = self.read(file)
        try:
            return load(data)
        except SafetensorError as error:
            raise BundleError(f"{self.folder / file.path}: not safetensors ({error}).") from error

    def artifacts(self, backend: str, precision: Precision = "fp32") -> list[Artifact]:
        """Return the artifacts of one backend and precision.

        Raises:
            BackendError: the bundle has none.
        """
        manifest = self.manifest
        found = [
            artifact
            for artifact in manifest.artifacts
            if (artifact.backend, artifact.precision) == (backend, precision)
        ]
        if not found:
            has = ", ".join(
                f"{name} ({', '.join(manifest.precisions(name))})" for name in manifest.backends
            )
            raise BackendError(
                f"{self.folder}: no artifact for backend {backend!r} in precision {precision!r}; "
                f"it has {has}. Take one of these, or export again with what is missing."
            )
        return found

    def check_label(self, artifact: Artifact, text: str | None) -> None:
        """Check the label found inside an artifact against the manifest.

        Raises:
            BundleError: there is none, or it tells of another export.
        """
        path = self.folder / artifact.path
        label = parse_label(text, str(path))
        expected = self.manifest.label(artifact)
        for field in Label.model_fields:
            if getattr(label, field) != getattr(expected, field):
                raise BundleError(
                    f"{path}: its own {field} differs from the manifest's: found "
                    f"{getattr(label, field)}, expected {getattr(expected, field)}. "
                    "The file is from another bundle; export again."
                )


def _missing(folder: Path, error: Exception) -> str:
    """Return why a folder's manifest cannot be read."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "holds no manifest.json" if folder.is_dir() else "is not a folder"
    return f"cannot be read ({getattr(error, 'strerror', None) or error})"


def parse_label(text: str | None, where: str) -> Label:
    """Read the label that an artifact carries.

    Raises:
        BundleError: there is none, or it is foreign or newer.
    """
    if not text:
        raise BundleError(
            f"{where}: carries no deploy_bias label; expected a file that "
            "`deploy-bias export` wrote."
        )
    return parse(Label, text.encode(), where)


def parse(model: type[_Model], data: bytes, where: str) -> _Model:
    """Read a manifest or a label, the version before all else.

    Raises:
        BundleError: not JSON, foreign, of another version, or against the schema.
    """
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where}: not JSON ({error}); export again.") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise BundleError(
            f"{where}: format is {found!r}, expected {FORMAT!r}; name a file or folder that "
            "`deploy-bias export` wrote."
        )
    version = content.get("format_version")
    if isinstance(version, bool) or not isinstance(version, int):
        raise BundleError(f"{where}: format_version must be an int, got {version!r}; export again.")
    if version > FORMAT_VERSION:
        raise BundleError(
            f"{where}: format version {version}, and this deploy_bias reads {FORMAT_VERSION}; "
            "upgrade deploy-bias, or export again with this one."
        )
    if version < FORMAT_VERSION:
        raise BundleError(
            f"{where}: format version {version}, and this deploy_bias reads {FORMAT_VERSION}; "
            "export again with this one."
        )
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise BundleError(
            f"{where}: {field or 'content'}: {first['msg']}; export again."
        ) from error
