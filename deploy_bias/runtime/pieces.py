"""A sentencepiece model without its library: the pieces that a text is spelt with. No torch here.

A device may have no wheel of sentencepiece, and no compiler. The file is a protocol buffer: pieces
with their scores (field 1) and the trainer's settings (field 2), see sentencepiece_model.proto.
"""

from __future__ import annotations

import struct
import unicodedata
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from deploy_bias.errors import BundleError

NORMAL, USER_DEFINED = 1, 4
"""Types of pieces that text is spelt with."""
UNIGRAM, BPE = 1, 2
"""Types of models; the first is sentencepiece's default and ESPnet's."""
SPACE = "▁"
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types of protocol buffers."""


class Pieces:
    """The pieces of a model.

    Args:
        model: the bytes of a bpe.model.
        where: its path, for errors.

    Raises:
        BundleError: it is damaged, or a model of words or characters.
    """

    def __init__(self, model: bytes, where: str) -> None:
        self._scores: dict[str, float] = {}
        self._kind = UNIGRAM
        try:
            for field, value in _fields(model):
                if field not in (1, 2):
                    continue
                inner: dict[int, Any] = dict(_fields(value))
                if field == 2:
                    self._kind = inner.get(3, UNIGRAM)
                elif inner.get(3, NORMAL) in (NORMAL, USER_DEFINED):
                    self._scores[inner[1].decode()] = struct.unpack("<f", inner[2])[0]
        except (AttributeError, IndexError, KeyError, TypeError, ValueError, struct.error) as error:
            raise BundleError(f"{where}: no sentencepiece model; export again.") from error
        if self._kind not in (UNIGRAM, BPE) or not self._scores:
            raise BundleError(f"{where}: no model of pieces (unigram or bpe); export again.")
        self._longest = max(map(len, self._scores))

    def spell(self, text: str) -> list[str] | None:
        """Return the pieces of a text, or None if a character of it is in none."""
        words = unicodedata.normalize("NFKC", text).split()
        spelt = "".join(SPACE + word for word in words)
        return self._merge(spelt) if self._kind == BPE else self._likeliest(spelt)

    def _likeliest(self, text: str) -> list[str] | None:
        """Return the pieces of the largest sum of scores."""
        best: list[tuple[float, str] | None] = [(0.0, "")]
        for end in range(1, len(text) + 1):
            found = None
            for start in range(max(0, end - self._longest), end):
                before, piece = best[start], text[start:end]
                if before is not None and piece in self._scores:
                    score = before[0] + self._scores[piece]
                    if found is None or score > found[0]:
                        found = (score, piece)
            best.append(found)
        pieces: list[str] = []
        end = len(text)
        while end:
            last = best[end]
            if last is None:
                return None
            pieces.append(last[1])
            end -= len(last[1])
        return pieces[::-1]

    def _merge(self, text: str) -> list[str] | None:
        """Return the pieces that are left when neighbours are joined, the best pair first."""
        pieces = list(text)
        while True:
            pairs = [
                (self._scores[a + b], -place)
                for place, (a, b) in enumerate(pairwise(pieces))
                if a + b in self._scores
            ]
            if not pairs:
                return pieces if all(piece in self._scores for piece in pieces) else None
            place = -max(pairs)[1]
            pieces[place : place + 2] = [pieces[place] + pieces[place + 1]]


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Yield the number and value of each field of a message."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        if key & 7 == VARINT:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        size = {FIXED64: 8, FIXED32: 4}.get(key & 7)
        if size is None:
            if key & 7 != BYTES:
                raise ValueError("not a protocol buffer")
            size, at = _varint(data, at)
        if at + size > len(data):
            raise ValueError("cut off")
        yield key >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
