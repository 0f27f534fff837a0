"""What reaches a terminal or a pipe: every character is shown, none is obeyed."""

import os
import re
import sys
from io import TextIOWrapper
from typing import IO

OBEYED = re.compile(
    r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"  # but for newlines
)
"""Controls, other line breaks, changes of direction, and the bytes of names that are no UTF-8."""


def shown(text: str) -> str:
    r"""Return text with what a terminal would obey written out, such as \x1b."""
    return OBEYED.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def one_line(text: str) -> str:
    """Return text for a line of its own, such as an error's."""
    return shown(re.sub(r"\s*\n\s*", " ", text.strip()))


def prepare() -> None:
    """Let the standard streams write out what their encoding has not."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def write(text: str) -> None:
    """Write to the standard output, whose reader may have left, as `head` does."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        abandon(sys.stdout)


def abandon(stream: IO[str]) -> None:
    """Let what is still written to a stream go nowhere: its reader left, which is no failure."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
