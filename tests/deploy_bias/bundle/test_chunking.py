"""The numbers of chunks: what they promise, against utterances of every length."""

import itertools

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from deploy_bias.bundle.chunking import Chunking
from deploy_bias.errors import OptionError

DIGITS = Chunking(256, 64, Chunking.samples_of(640, 8000), 4)


@st.composite
def chunkings(draw):
    n_fft = draw(st.integers(1, 40))
    hop_length = draw(st.integers(1, n_fft))
    subsampling = draw(st.integers(1, 2))
    least = (2 * subsampling + 3) * hop_length + n_fft - n_fft // 2
    return Chunking(n_fft, hop_length, least + draw(st.integers(0, 100)), subsampling)


def test_the_shipped_model():
    assert DIGITS.decoding_window == 5120
    assert DIGITS.carried == 11
    # 80 frames a window; 2 of the first window's are centred too near to its end.
    assert DIGITS.first_frames == 79
    assert DIGITS.regular_frames == 11 + 80
    # All but one sample of a window, and the two frames that no window follows.
    assert DIGITS.last_frames == 11 + 81 == DIGITS.max_frames


def test_milliseconds_are_of_the_models_own_rate():
    assert Chunking.samples_of(640, 16000) == 10240
    assert Chunking.samples_of(640, 8000) == 5120
    assert Chunking.samples_of(12.5, 44100) == 551


@given(chunkings(), st.integers(0, 600))
def test_no_chunk_is_larger_than_promised(chunking, samples):
    windows = samples // chunking.decoding_window
    ends = [chunking.complete(i * chunking.decoding_window) for i in range(windows + 1)]
    total = chunking.total(samples)
    assert total > ends[-1]
    if windows:
        assert ends[1] == chunking.first_frames
        assert total - ends[-1] + chunking.carried <= chunking.last_frames
    else:
        assert total == chunking.first_frames
    for before, after in itertools.pairwise(ends[1:]):
        assert after - before + chunking.carried <= chunking.regular_frames


@given(chunkings())
def test_no_promise_is_larger_than_needed(chunking):
    window = chunking.decoding_window
    ends = [i * window for i in range(1, chunking.hop_length + 1)]
    regular = max(chunking.complete(end + window) - chunking.complete(end) for end in ends)
    last = max(
        chunking.total(end + more) - chunking.complete(end)
        for end in ends
        for more in range(window)
    )
    assert chunking.regular_frames == chunking.carried + regular
    assert chunking.last_frames == chunking.carried + last


@given(chunkings(), st.integers(0, 600))
def test_the_padded_utterance_reaches_past_every_sample(chunking, samples):
    """The last frame's centre is less than a hop from the end, unless all is in one window."""
    assume(samples >= chunking.decoding_window)
    padded = samples + chunking.silence(samples)
    last = (chunking.total(samples) - 1) * chunking.hop_length
    assert last <= padded < last + chunking.hop_length + 1


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((256, 0, 5120, 4), r"hop_length must be 1 to n_fft \(256\), got 0"),
        ((256, 257, 5120, 4), r"hop_length must be 1 to n_fft \(256\), got 257"),
        ((256, 64, 5120, 0), "subsampling_factor must be at least 1, got 0"),
        ((256, 64, 831, 4), "decoding_window must be at least 832 samples.* the 11 .* got 831"),
    ],
)
def test_refusals(numbers, message):
    with pytest.raises(OptionError, match=message):
        Chunking(*numbers)
