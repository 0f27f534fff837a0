"""Whether an audio file is cut, where FFmpeg does not tell.

Sources: RIFF of Multimedia Programming Interface 1.0; RFC 3533 of Ogg; the Xing VBR header SDK.
"""

import struct

UNKNOWN_SIZE = 0x7FFF_0000
"""Bytes: what writes a wav to a pipe states about 2 or 4 GiB, or none."""
END_OF_STREAM = 4


def wav_data_size(head: bytes) -> int | None:
    """Return the bytes of samples that the header of a wav states; None if it does not know.

    Args:
        head: the first bytes of the file.
    """
    order = {b"RIFF": "<", b"RIFX": ">"}.get(head[:4])
    if order is None:
        return None
    place = 12
    while place + 8 <= len(head):
        name, size = struct.unpack_from(f"{order}4sI", head, place)
        if name == b"data":
            return size if 0 < size < UNKNOWN_SIZE else None
        place += 8 + size + size % 2
    return None


def mp3_frames(head: bytes) -> int | None:
    """Return the frames that the Xing or LAME header of an mp3 states; None if it has none.

    Args:
        head: the first bytes of the file.
    """
    place = max(head.find(b"Xing"), head.find(b"Info"))
    if place < 0 or len(head) < place + 12:
        return None
    flags, frames = struct.unpack_from(">II", head, place + 4)
    return frames if flags & 1 else None


def ogg_is_cut(tail: bytes) -> bool:
    """Say whether the last page is not whole, or does not end its stream.

    Args:
        tail: the last bytes, a page of 65,307 bytes or more; all of a shorter file.
    """
    start = tail.rfind(b"OggS")
    page = tail[start:] if start >= 0 else b""
    if len(page) < 27:
        return True
    flags, segments = page[5], page[26]
    table = page[27 : 27 + segments]
    is_whole = len(table) == segments and len(page) >= 27 + segments + sum(table)
    return not (is_whole and flags & END_OF_STREAM)
