"""The host's count of valid rows."""

import subprocess
import sys

import pytest

from deploy_bias.bundle.window import first_valid, next_valid


def counts(start, context, chunk_size, steps):
    valid = [first_valid(start)]
    for _ in range(steps):
        valid.append(next_valid(valid[-1], context, chunk_size, start))
    return valid


@pytest.mark.parametrize(
    ("start", "context", "chunk_size", "expected"),
    [
        ("espnet", 3, -1, [1, 2, 3, 3, 3, 3]),
        ("clean", 3, -1, [0, 1, 2, 3, 3, 3]),
        ("clean", 3, 0, [0, 1, 2, 3, 3, 3]),
        # A chunk of four: ESPnet keeps the last row for the next chunk, forward keeps none.
        ("espnet", 3, 4, [1, 2, 3, 1, 2, 3, 1]),
        ("clean", 3, 4, [0, 1, 2, 3, 0, 1, 2, 3, 0]),
        ("espnet", 1, 2, [1, 1, 1, 1]),
        ("clean", 1, 2, [0, 1, 0, 1]),
    ],
)
def test_counts(start, context, chunk_size, expected):
    assert counts(start, context, chunk_size, len(expected) - 1) == expected


def test_an_unknown_start_lists_the_known_ones():
    with pytest.raises(ValueError, match="start must be one of espnet, clean, got 'empty'"):
        first_valid("empty")


def test_a_host_needs_no_torch():
    code = "import sys, deploy_bias.bundle.window; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
