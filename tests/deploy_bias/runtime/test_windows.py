"""Windows: values that append, fork and are dropped, over buffers that are used again."""

import gc
import random

import numpy as np
import pytest

from deploy_bias.runtime.windows import Windows

SHAPES = ((1, 5, 2), (1, 3, 1))
DTYPES = (np.dtype("float32"),) * 2


def rows(numbers):
    series = np.array(numbers, np.float32)[None, :, None]
    return [series.repeat(2, axis=2), -series]


def row(number):
    return rows([number])


def content(windows):
    return [view[0, :, 0].tolist() for view in windows.views()]


def test_the_newest_row_is_last_and_the_oldest_falls_out():
    windows = Windows(SHAPES, DTYPES, [])
    assert content(windows) == [[0] * 5, [0] * 3]
    for number in range(1, 8):
        windows = windows.append(row(number))
    assert content(windows) == [[3, 4, 5, 6, 7], [-5, -6, -7]]


def test_views_are_contiguous():
    windows = Windows(SHAPES, DTYPES, [])
    for number in range(20):
        windows = windows.append(row(number))
        assert all(view.flags.c_contiguous for view in windows.views())


def test_any_tree_of_forks_is_what_lists_give():
    shuffle = random.Random(0)
    alive = [(Windows(SHAPES, DTYPES, []), [0.0] * 5)]
    for number in range(1, 500):
        windows, rows = shuffle.choice(alive)
        alive.append((windows.append(row(number)), [*rows, float(number)]))
        shuffle.shuffle(alive)
        del alive[12:]
        for windows, rows in alive:
            assert content(windows) == [rows[-5:], [-x for x in rows[-3:]]]


def test_buffers_are_used_again():
    pool = []
    windows = Windows(SHAPES, DTYPES, pool)
    held = set()
    for number in range(200):
        windows = windows.append(row(number))
        held.add(windows.views()[0].base.ctypes.data)
    assert len(held) == 2
    del windows
    gc.collect()
    assert len(pool) == 2


def test_windows_of_a_used_buffer_begin_with_zeros():
    pool = []
    Windows(SHAPES, DTYPES, pool).append(row(1))
    assert len(pool) == 1
    assert content(Windows(SHAPES, DTYPES, pool)) == [[0] * 5, [0] * 3]


@pytest.mark.parametrize("count", [0, 1, 2, 4, 5, 7, 30])
def test_any_number_of_rows_at_once(count):
    windows, expected = Windows(SHAPES, DTYPES, []), [0.0] * 5
    for first in range(1, 8):
        numbers = [float(first * 100 + number) for number in range(count)]
        windows, expected = windows.append(rows(numbers)), [*expected, *numbers]
        assert all(view.flags.c_contiguous for view in windows.views())
        assert content(windows) == [expected[-5:], [-x for x in expected[-3:]]]
