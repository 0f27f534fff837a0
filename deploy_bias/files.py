"""Files that are written whole or not at all."""

import os
import tempfile
from pathlib import Path

from deploy_bias.errors import OptionError


def check_writable(path: Path, option: str) -> None:
    """See that a file can be written, before the work that fills it; makes its folder.

    Args:
        path: of the file.
        option: that names it, for the error.

    Raises:
        OptionError: it cannot.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            path.open("a").close()
        else:
            tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise OptionError(
            f"{option} {path}: cannot be written ({error.strerror}); name a file elsewhere."
        ) from error


def write_whole(path: Path, text: str) -> None:
    """Write a file in UTF-8, and its folders; what stood there stays until all of it is written."""
    if path.exists() and not path.is_file():  # a pipe or a terminal
        path.write_text(text, encoding="utf-8")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        scratch.write_text(text, encoding="utf-8")
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
