"""How many rows of a window are valid: the host's half of the decoder's step. No torch here.

After each step the host appends the new key and value rows to its windows, and counts. ESPnet
starts each utterance with a key and a value of zeros, which every later label attends to; its
`forward`, and so its training, does not. Both starts are here by name:

- "espnet": as ESPnet decodes. One row of zeros is valid at the start, and a chunk that is
  complete leaves its last row behind for the next one.
- "clean": as ESPnet trains. No row is valid at the start, nor after a complete chunk.
"""

_FIRST_VALID = {"espnet": 1, "clean": 0}


def first_valid(start: str) -> int:
    """Return how many rows are valid before the first label, all of them zeros.

    Raises:
        ValueError: `start` is neither "espnet" nor "clean".
    """
    if start not in _FIRST_VALID:
        raise ValueError(f"start must be one of {', '.join(_FIRST_VALID)}, got {start!r}.")
    return _FIRST_VALID[start]


def next_valid(valid: int, context: int, chunk_size: int, start: str) -> int:
    """Return how many rows are valid for the next label, once the new row is appended.

    Args:
        valid: how many were valid for this label.
        context: the rows of the window. Without chunks the oldest row falls out of a full
            window; with chunks the window holds chunk_size - 1 rows and is never full for long.
        chunk_size: the decoder's; 0 or less is no chunks.
        start: "espnet" or "clean".

    Raises:
        ValueError: `start` is neither "espnet" nor "clean".
    """
    if valid + 1 == chunk_size:
        return first_valid(start)
    return min(valid + 1, context)
