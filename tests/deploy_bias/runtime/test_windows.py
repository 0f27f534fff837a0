"""Windows: values that append, fork and are dropped, over buffers that are used again."""

import gc
import random

import numpy as np

from deploy_bias.runtime.windows import Windows

SHAPES = ((5, 2), (3, 1))


def row(number):
    return [np.full(2, number, np.float32), np.full(1, -number, np.float32)]


def content(windows):
    return [view[:, 0].tolist() for view in windows.views()]


def test_the_newest_row_is_last_and_the_oldest_falls_out():
    windows = Windows(SHAPES, [])
    assert content(windows) == [[0] * 5, [0] * 3]
    for number in range(1, 8):
        windows = windows.append(row(number))
    assert content(windows) == [[3, 4, 5, 6, 7], [-5, -6, -7]]


def test_views_are_contiguous():
    windows = Windows(SHAPES, [])
    for number in range(20):
        windows = windows.append(row(number))
        assert all(view.flags.c_contiguous for view in windows.views())


def test_any_tree_of_forks_is_what_lists_give():
    shuffle = random.Random(0)
    alive = [(Windows(SHAPES, []), [0.0] * 5)]
    for number in range(1, 500):
        windows, rows = shuffle.choice(alive)
        alive.append((windows.append(row(number)), [*rows, float(number)]))
        shuffle.shuffle(alive)
        del alive[12:]
        for windows, rows in alive:
            assert content(windows) == [rows[-5:], [-x for x in rows[-3:]]]


def test_buffers_are_used_again():
    pool = []
    windows = Windows(SHAPES, pool)
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
    Windows(SHAPES, pool).append(row(1))
    assert len(pool) == 1
    assert content(Windows(SHAPES, pool)) == [[0] * 5, [0] * 3]
