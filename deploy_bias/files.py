"""Files that people write, and files that are written whole or not at all."""

import os
import tempfile
from pathlib import Path

from deploy_bias.errors import OptionError, SourceError


def read_lines(path: Path, expected: str) -> list[str]:
    r"""Read text in UTF-8, with or without a byte order mark; only \n and \r\n end a line.

    Args:
        path: of the file.
        expected: what it should hold, for the error.

    Raises:
        SourceError: it is missing or unreadable, or no text.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(f"{path}: not UTF-8 text ({error}).") from error
    except OSError as error:
        what = (error.strerror or "unreadable").lower()
        raise SourceError(f"{path}: {what}; expected {expected}.") from error
    return [line.removesuffix("\r") for line in text.split("\n")]


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
