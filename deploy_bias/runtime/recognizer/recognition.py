"""What a recogniser gives: text, and when and how surely it was said. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Word:
    """A word of an utterance.

    start, end: seconds from the `start_time` of its recognition: from its first token to a frame
        behind its last one, or to the next word. A transducer says a token when it is sure, so
        both can lag behind what is heard.
    confidence: mean natural log-probability of its tokens; 0 is sure.
    """

    text: str
    start: float
    end: float
    confidence: float


@dataclass(frozen=True)
class Recognition:
    """What was recognised of an utterance so far.

    text, tokens, labels: the same, three times; labels without blanks.
    timestamps: of each token, seconds from `start_time`: the middle of what the encoder frame
        sees that the token came at.
    log_probs: of each token: its natural log-probability among all tokens and blank at its frame.
        It is the transducer's alone, whatever hotwords and language model add to `score`.
    words: those of `text`.
    confidence: mean of log_probs; 0 if there is no token.
    start_time: where the utterance begins, seconds from the first sample of the stream.
    score: natural log-probability of the path, and what hotwords and language model add.
    is_final: the input is over and nothing is left to decode.
    """

    text: str
    tokens: tuple[str, ...]
    timestamps: tuple[float, ...]
    labels: tuple[int, ...]
    log_probs: tuple[float, ...]
    words: tuple[Word, ...]
    confidence: float
    start_time: float
    score: float
    is_final: bool


def mean(values: Sequence[float]) -> float:
    """Return the mean; 0 of nothing."""
    return sum(values) / len(values) if values else 0.0
