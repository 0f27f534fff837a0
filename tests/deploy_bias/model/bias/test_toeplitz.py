"""The three layouts hold the same numbers in the same places."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deploy_bias.model.bias.toeplitz import toeplitz, toeplitz_by_gather, toeplitz_by_repeat


@pytest.mark.parametrize("layout", [toeplitz, toeplitz_by_repeat, toeplitz_by_gather])
@given(data=st.data())
def test_every_element_is_the_value_of_its_offset(layout, data):
    key_length = data.draw(st.integers(1, 150))
    query_length = data.draw(st.integers(1, key_length))
    diagonals = torch.randn(query_length + key_length - 1)
    row = torch.arange(query_length)[:, None]
    column = torch.arange(key_length)[None, :]
    expected = diagonals[query_length - 1 - row + column]
    assert torch.equal(layout(diagonals, query_length, key_length), expected)


@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (1, 2048), (251, 251), (300, 509)])
def test_primes_and_borders(queries, keys):
    diagonals = torch.randn(queries + keys - 1)
    expected = toeplitz(diagonals, queries, keys)
    assert torch.equal(toeplitz_by_gather(diagonals, queries, keys), expected)
    assert torch.equal(toeplitz_by_repeat(diagonals, queries, keys), expected)
