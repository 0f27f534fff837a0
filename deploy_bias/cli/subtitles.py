"""Words and their times as text: CTM for scoring tools, SRT and WebVTT for players."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy_bias.errors import OptionError
from deploy_bias.runtime import Recognition, Word

CUE_CHARACTERS, CUE_SECONDS = 42, 6.0
"""Of a subtitle at most, as is usual for a line that can be read in its time."""
PAUSE_SECONDS = 1.0
"""After such a pause a subtitle ends."""

Heard = tuple[Path, Recognition]


def ctm(heard: Sequence[Heard]) -> str:
    """Return NIST's CTM: file, channel, start, duration, word and its probability, by lines."""
    return "".join(
        f"{path.stem} 1 {start:.2f} {word.end - word.start:.2f} {word.text} "
        f"{math.exp(word.confidence):.3f}\n"
        for path, recognition in heard
        for word in recognition.words
        for start in [recognition.start_time + word.start]
    )


def srt(heard: Sequence[Heard]) -> str:
    """Return SubRip subtitles of one file."""
    return "".join(
        f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{cue.text}\n\n"
        for number, cue in enumerate(_cues(_only(heard, "srt")), 1)
    )


def vtt(heard: Sequence[Heard]) -> str:
    """Return WebVTT subtitles of one file."""
    return "WEBVTT\n\n" + "".join(
        f"{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n{cue.text}\n\n"
        for cue in _cues(_only(heard, "vtt"))
    )


FORMATS: dict[str, Callable[[Sequence[Heard]], str]] = {"ctm": ctm, "srt": srt, "vtt": vtt}


@dataclass(frozen=True)
class _Cue:
    text: str
    start: float
    end: float


def _only(heard: Sequence[Heard], form: str) -> Recognition:
    if len(heard) != 1:
        raise OptionError(f"--format {form} is of one recording, got {len(heard)}; name one.")
    return heard[0][1]


def _cues(recognition: Recognition) -> Iterator[_Cue]:
    words: list[Word] = []
    for word in recognition.words:
        if words:
            text = " ".join(w.text for w in (*words, word))
            late = word.start - words[-1].end > PAUSE_SECONDS
            if late or len(text) > CUE_CHARACTERS or word.end - words[0].start > CUE_SECONDS:
                yield _cue(words, recognition.start_time)
                words = []
        words.append(word)
    if words:
        yield _cue(words, recognition.start_time)


def _cue(words: Sequence[Word], begun: float) -> _Cue:
    text = " ".join(word.text for word in words)
    return _Cue(text, begun + words[0].start, begun + words[-1].end)


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(1000 * seconds)
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{rest // 1000:02}{point}{rest % 1000:03}"
