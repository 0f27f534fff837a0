"""What lies on a person's disk: where the checkpoint, its config and their other files are.

An experiment's folder, a checkpoint in it, or a pack of ESPnet's model zoo: a folder or a .zip with
a meta.yaml that names its files. A pack comes from the net, so its files must be within it.
"""

import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from deploy_bias.errors import SourceError
from deploy_bias.export.sources.state_dict import first_line
from deploy_bias.packages import needed

CONFIG, META = "config.yaml", "meta.yaml"
PACK_CHECKPOINT, PACK_CONFIG = "asr_model_file", "asr_train_config"
"""ESPnet's names in meta.yaml."""

USUAL_CHECKPOINTS = (
    "valid.loss.ave.pth",
    "valid.loss.ave_*best.pth",
    "valid.loss.best.pth",
    "valid.*.ave.pth",
    "valid.*.ave_*best.pth",
    "valid.*.best.pth",
)
"""Taken in this order where a folder holds several; ESPnet's averages before its best epoch."""

PACK_BYTES = 8 * 2**30
"""What a .zip may unpack to; the largest published transducer has 0.4 GB."""

LINK_BYTES = 1024


@dataclass(frozen=True)
class Files:
    """The files of a model.

    config: None for a bare state_dict. places: folders where what the config names may be found.
    pack: whether none may be outside of them. notes: what the user should know.
    """

    checkpoint: Path
    config: Path | None
    places: tuple[Path, ...] = ()
    pack: bool = False
    notes: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """The two files, for errors."""
        beside = "" if self.config is None else f" with {self.config}"
        return f"{self.checkpoint}{beside}"

    def find(self, name: str) -> Path | None:
        """Return a file that the config names, or None where there is none.

        A recipe names its files relative to its own folder, two above the experiment's; a pack
        relative to itself, or to where ESPnet once unpacked it. A file that was moved may lie
        beside the config.
        """
        path = PurePosixPath(name)
        if not self.pack:
            names = [name, path.name]
        elif ".." in path.parts:
            return None
        else:
            parts = path.relative_to(path.anchor).parts
            names = ["/".join(parts[start:]) for start in range(len(parts))]
        found = (place / name for place in self.places for name in names)
        return next((file for file in found if file.is_file()), None)


@contextmanager
def open_files(
    source: Path | None, config: Path | None, checkpoint: Path | None
) -> Iterator[Files]:
    """Find the files of a model; those of a .zip are unpacked as long as this is open.

    Args:
        source: an experiment's folder, a checkpoint or a pack.
        config: config.yaml, if it is not in the folder.
        checkpoint: the .pth, if it is not in the folder or the folder holds several.

    Raises:
        SourceError: a file is missing, or a pack is damaged or names files outside of it.
    """
    if source is not None and not source.is_dir() and checkpoint is not None:
        raise SourceError(f"{source} and --checkpoint {checkpoint}: give one of the two.")
    if source is not None and source.is_file() and _is_zip_pack(source):
        with tempfile.TemporaryDirectory(prefix="deploy-bias-") as scratch:
            _unpack(source, Path(scratch))
            yield _pack_files(Path(scratch), str(source), config)
    elif source is not None and source.is_dir() and _is_pack(source) and checkpoint is None:
        yield _pack_files(source, str(source), config)
    else:
        yield _experiment_files(source, config, checkpoint)


def _experiment_files(source: Path | None, config: Path | None, checkpoint: Path | None) -> Files:
    notes: tuple[str, ...] = ()
    if source is not None and source.is_dir():
        config = config or source / CONFIG
        if checkpoint is None:
            checkpoint, notes = _pick_checkpoint(source)
    elif source is not None:
        checkpoint = source
        if config is None and (source.parent / CONFIG).is_file():
            config = source.parent / CONFIG
            notes = (f"take {config}, which lies beside {source.name}",)
    if checkpoint is None:
        raise SourceError(
            "no checkpoint given: name an experiment folder, a state_dict, or --checkpoint."
        )
    if config is None:
        return Files(checkpoint, None, notes=notes)
    folder = config.parent
    return Files(checkpoint, config, (folder, folder.resolve().parent.parent, Path()), notes=notes)


def _pick_checkpoint(folder: Path) -> tuple[Path, tuple[str, ...]]:
    """Return the checkpoint of a folder, and what to say of those that lead nowhere."""
    broken = {path: link for path in sorted(folder.glob("*.pth")) if (link := _broken_link(path))}
    notes = tuple(
        f"look past {path.name}: it is a link to {link}, which is not there"
        for path, link in broken.items()
    )
    paths = [path for path in sorted(folder.glob("*.pth")) if path not in broken]
    for pattern in (*USUAL_CHECKPOINTS, "*.pth"):
        same = {path.resolve(): path for path in paths if path.match(pattern)}
        if len(same) == 1:
            return next(iter(same.values())), notes
        if same:
            break
    names = ", ".join(path.name for path in paths) or "none"
    more = f"; {'; '.join(notes)}" if notes else ""
    raise SourceError(
        f"{folder}: expected one .pth, or one of the usual names (valid.loss.ave.pth, "
        f"valid.loss.best.pth); found {names}{more}. Choose with --checkpoint."
    )


def _broken_link(path: Path) -> str | None:
    """Return where a link leads, if nothing is there.

    A copy made without links has a text file in its place, which holds the path alone.
    """
    if path.is_symlink():
        return None if path.exists() else str(path.readlink())
    if not path.is_file() or path.stat().st_size > LINK_BYTES:
        return None
    try:
        text = path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        return None
    return text if text.endswith(".pth") and "\n" not in text else None


def _is_zip_pack(path: Path) -> bool:
    """Return whether a file is a .zip, but no checkpoint, which is a .zip too."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        names = [PurePosixPath(name).name for name in archive.namelist()]
    return META in names or (path.suffix == ".zip" and "data.pkl" not in names)


def _is_pack(folder: Path) -> bool:
    return (folder / META).is_file() and not (folder / CONFIG).is_file()


def _unpack(path: Path, target: Path) -> None:
    """Unpack a .zip, file by file, each checked before."""
    try:
        with zipfile.ZipFile(path) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
            total = sum(info.file_size for info in infos)
            if total > PACK_BYTES:
                raise SourceError(
                    f"{path}: unpacks to {total:,} bytes, more than the {PACK_BYTES:,} that a pack "
                    "may; unpack it yourself and give the folder."
                )
            for info in infos:
                _check_within(info.filename, path)
                if stat.S_ISLNK(info.external_attr >> 16):
                    raise SourceError(f"{path}: {info.filename} is a link; a pack must hold files.")
                file = target / info.filename
                file.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(info) as content, file.open("wb") as out:
                    shutil.copyfileobj(content, out)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise SourceError(f"{path}: the .zip cannot be unpacked ({first_line(error)}).") from error


def _pack_files(folder: Path, where: str, config: Path | None) -> Files:
    """Return the files that a pack's meta.yaml names."""
    metas = sorted(folder.rglob(META), key=lambda path: len(path.parts))
    if not metas:
        raise SourceError(
            f"{where}: holds no {META}; expected a pack of ESPnet's model zoo, or an experiment's "
            "folder."
        )
    content = read_yaml(metas[0], f"{where}: {META}")
    named = {**_mapping(content, "files"), **_mapping(content, "yaml_files")}
    for name in (PACK_CHECKPOINT, PACK_CONFIG):
        if name not in named:
            raise SourceError(
                f"{where}: {META} names no {name}, only {', '.join(named) or 'nothing'}; expected "
                "the pack of a speech recogniser."
            )
        _check_within(named[name], Path(where))
    # Old packs have it one folder below.
    for root in (metas[0].parent, metas[0].parent.parent):
        files = Files(
            checkpoint=root / named[PACK_CHECKPOINT],
            config=config or root / named[PACK_CONFIG],
            places=(root, (root / named[PACK_CONFIG]).parent),
            pack=True,
        )
        if files.checkpoint.is_file():
            return files
        if root == folder:
            break
    raise SourceError(f"{where}: {named[PACK_CHECKPOINT]} is missing, which {META} names.")


def _mapping(content: dict[str, Any], name: str) -> dict[str, str]:
    entries = content.get(name)
    if not isinstance(entries, dict):
        return {}
    return {str(key): str(value) for key, value in entries.items()}


def _check_within(name: str, pack: Path) -> None:
    """Raise a SourceError for a path that leaves its folder, on any system."""
    for path in (PurePosixPath(name), PureWindowsPath(name)):
        if path.is_absolute() or path.drive or path.root or ".." in path.parts:
            raise SourceError(
                f"{pack}: {name!r} is outside of the pack; a pack may name its own files alone."
            )


def read_yaml(path: Path, where: str) -> dict[str, Any]:
    """Return the mapping that a .yaml file holds.

    Raises:
        SourceError: it is unreadable, or no mapping.
    """
    with needed("yaml", "reading config.yaml"):
        import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SourceError(f"{where}: not YAML ({first_line(error)}).") from error
    if not isinstance(content, dict):
        raise SourceError(f"{where}: expected a mapping of options.")
    return content
