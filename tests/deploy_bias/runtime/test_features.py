"""From samples to chunks: ESPnet's where it is right, and whole utterances' features always."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch
from espnet2.asr_transducer.frontend.online_audio_processor import OnlineAudioProcessor
from hypothesis import given
from hypothesis import strategies as st

from deploy_bias.bundle.chunking import Chunking
from deploy_bias.errors import ContractError
from deploy_bias.export.steps.frontend import FrontendStep
from deploy_bias.model.frontend import DefaultFrontend
from deploy_bias.runtime.features import FeatureStream
from tests.deploy_bias.bundle.test_chunking import chunkings
from tests.espnet.frontends import (
    WAVS,
    EspnetFrontend,
    digits,
    espnet_features,
    exact,
    recording,
    recordings,
)
from tests.espnet.models import largest

RATE = 8000
# n_fft is an even multiple of hop_length: there ESPnet's chunks are right.
RIGHT = {
    "digits": {"fs": RATE, "n_fft": 256, "hop_length": 64, "n_mels": 40},
    "half": {"fs": RATE, "n_fft": 200, "hop_length": 100, "n_mels": 23},
    "default": {"fs": RATE, "n_fft": 512, "win_length": 400, "hop_length": 128, "n_mels": 40},
}


def pieces_of(samples, sizes):
    """Cut samples into pieces of these sizes, and what is left over."""
    return np.split(samples, np.minimum(np.cumsum(sizes, dtype=int), samples.size))


def run(stream, pieces):
    return [chunk for piece in pieces for chunk in stream.accept(piece)] + [stream.finish()]


def whole(chunks, chunking):
    """Join chunks, without the frames that each has from the one before."""
    parts = [chunk.features[0, : chunk.frames] for chunk in chunks]
    return np.concatenate(parts[:1] + [part[chunking.carried :] for part in parts[1:]])


def padded(samples, chunking):
    return np.concatenate([samples, np.zeros(chunking.silence(samples.size), np.float32)])


class Framing:
    """A frontend whose features are the samples themselves, so that frames can be told apart."""

    def __init__(self, chunking, frames):
        self.n_fft, self.hop_length, self.frames = chunking.n_fft, chunking.hop_length, frames

    def __call__(self, samples):
        assert samples.dtype == np.float32
        assert samples.shape == (1, (self.frames - 1) * self.hop_length + self.n_fft)
        return self.of(samples[0])[None]

    def of(self, signal):
        return np.lib.stride_tricks.sliding_window_view(signal, self.n_fft)[:: self.hop_length]


signals = st.tuples(st.integers(0, 600), st.integers(0, 2**32 - 1)).map(
    lambda drawn: np.random.default_rng(drawn[1]).normal(size=drawn[0]).astype(np.float32)
)


@given(chunkings(), signals, st.integers(1, 30))
def test_chunks_hold_the_frames_of_the_whole_utterance(chunking, samples, frames):
    framing = Framing(chunking, frames)
    chunks = run(FeatureStream(framing, chunking, frames), [samples])
    signal = np.pad(padded(samples, chunking), chunking.edge, mode="reflect")
    expected = framing.of(signal)
    if samples.size < chunking.decoding_window:
        expected = expected[: chunking.first_frames]
    assert np.array_equal(whole(chunks, chunking), expected)
    for before, after in itertools.pairwise(chunks):
        carried = before.features[0, : before.frames][-chunking.carried :]
        assert np.array_equal(after.features[0, : chunking.carried], carried)
    for chunk in chunks:
        assert chunk.features.shape == (1, chunking.max_frames, chunking.n_fft)
        assert not chunk.features[0, chunk.frames :].any()
    assert [chunk.is_final for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert len(chunks) == samples.size // chunking.decoding_window + 1


@given(st.lists(st.integers(0, 4000)))
def test_pieces_of_any_length_give_the_same_bits(sizes):
    expected = run(digits_stream(), [LONGEST])
    assert_same(run(digits_stream(), pieces_of(LONGEST, sizes)), expected)


def test_one_sample_at_a_time():
    samples = LONGEST[:12000]
    expected = run(digits_stream(), [samples])
    assert_same(run(digits_stream(), np.split(samples, samples.size)), expected)


def assert_same(chunks, expected):
    assert len(chunks) == len(expected)
    for chunk, wanted in zip(chunks, expected, strict=True):
        assert (chunk.frames, chunk.is_final) == (wanted.frames, wanted.is_final)
        assert np.array_equal(chunk.features, wanted.features)


@pytest.mark.parametrize("frames", [80, 17])
def test_recordings_are_as_near_to_float64_as_espnets_offline_features(frames):
    (frontend, normalize), theirs = digits()
    stream = digits_stream(frames)
    error, allowed = 0.0, 0.0
    for samples in recordings():
        utterance = torch.from_numpy(padded(samples[0].numpy(), stream.chunking)).unsqueeze(0)
        expected = exact(frontend, utterance, normalize)
        chunks = run(stream, [samples[0].numpy()])
        got = torch.from_numpy(whole(chunks, stream.chunking)).unsqueeze(0)
        assert got.shape == expected.shape
        error = max(error, largest(got - expected))
        own = espnet_features(theirs[0], utterance, theirs[1])
        allowed = max(allowed, largest(own - expected))
    assert error <= 4 * allowed


def digits_stream(frames=80):
    (frontend, normalize), _ = digits()
    step = FrontendStep(frontend, normalize, frames)
    chunking = Chunking(256, 64, Chunking.samples_of(640, RATE), 4)
    return FeatureStream(lambda x: step(torch.from_numpy(x)).numpy(), chunking, frames)


LONGEST = max((recording(path)[0].numpy() for path in WAVS), key=len)


class TestAgainstEspnet:
    """Chunk for chunk what ESPnet's streaming hands to its encoder."""

    @pytest.mark.parametrize("subsampling", [2, 4, 6])
    @pytest.mark.parametrize("setting", RIGHT)
    @pytest.mark.parametrize("milliseconds", [640, 320, 333])
    def test_recordings(self, setting, milliseconds, subsampling):
        options = RIGHT[setting]
        chunking = Chunking(
            options["n_fft"],
            options["hop_length"],
            Chunking.samples_of(milliseconds, RATE),
            subsampling,
        )
        for samples in recordings()[::3]:
            self.check(options, chunking, milliseconds, samples[0].numpy())

    @pytest.mark.parametrize("setting", RIGHT)
    @pytest.mark.parametrize("windows", [0, 1, 2])
    @pytest.mark.parametrize("more", [0, 1, 100, 2500, 5000, 5118, 5119])
    def test_utterances_of_any_length(self, setting, windows, more):
        options = RIGHT[setting]
        chunking = Chunking(options["n_fft"], options["hop_length"], 5120, 4)
        self.check(options, chunking, 640, LONGEST[8000:][: windows * 5120 + more])

    def check(self, options, chunking, milliseconds, samples):
        # The frames of ESPnet's own transform, so that what differs is the cutting.
        frontend = DefaultFrontend(**options, center=False)
        stream = FeatureStream(lambda x: frontend(torch.from_numpy(x)).numpy(), chunking, 40)
        expected = espnet_chunks(options, chunking, milliseconds, samples)
        chunks = run(stream, [samples])
        assert [chunk.frames for chunk in chunks] == [len(features) for features in expected]
        for chunk, features in zip(chunks, expected, strict=True):
            np.testing.assert_allclose(
                chunk.features[0, : chunk.frames], features, atol=1e-5, rtol=1e-6
            )

    def test_the_shipped_model_at_its_own_rate(self):
        """16000 is what ESPnet counts with unless told; 8000 is what the audio has."""
        stream = digits_stream()
        _, (frontend, normalize) = digits()
        options = RIGHT["digits"]
        for samples in recordings():
            chunks = run(stream, [samples[0].numpy()])
            expected = espnet_chunks(
                options, stream.chunking, 640, samples[0].numpy(), frontend, normalize
            )
            for chunk, features in zip(chunks, expected, strict=True):
                assert chunk.frames == len(features)
                np.testing.assert_allclose(chunk.features[0, : chunk.frames], features, atol=2e-3)

    def test_speech2text_counts_as_if_audio_were_16_khz(self):
        """It tells no rate: its default window of 640 ms is --chunk-ms 1280 of audio at 8 kHz."""
        _, (frontend, normalize) = digits()
        processor = OnlineAudioProcessor(
            frontend, normalize, 640, 4, RIGHT["digits"], torch.device("cpu")
        )
        assert processor.decoding_samples == Chunking.samples_of(1280, RATE)

    @pytest.mark.parametrize(
        ("n_fft", "hop_length", "at_each_border"),
        [(256, 80, -1), (512, 160, -1), (384, 128, 1), (400, 160, 0)],
    )
    def test_elsewhere_espnets_frames_are_not_the_utterances(
        self, n_fft, hop_length, at_each_border
    ):
        """Lost or repeated at each border of windows, or right in number and wrong in value."""
        options = {"fs": RATE, "n_fft": n_fft, "hop_length": hop_length, "n_mels": 23}
        chunking = Chunking(n_fft, hop_length, 32 * hop_length * 4, 4)
        milliseconds = chunking.decoding_window * 1000 / RATE
        samples = np.random.default_rng(0).normal(size=3 * chunking.decoding_window)
        samples = (0.1 * samples).astype(np.float32)
        expected = espnet_chunks(options, chunking, milliseconds, samples)
        joined = np.concatenate([expected[0], *(x[chunking.carried :] for x in expected[1:])])
        total = chunking.total(samples.size)
        borders = len(expected) - 1
        assert len(joined) == total + borders * at_each_border
        if not at_each_border:
            utterance = torch.from_numpy(padded(samples, chunking)).unsqueeze(0)
            offline = espnet_features(EspnetFrontend(**options), utterance)[0].numpy()
            wrong = np.abs(joined - offline).max(1) > 1e-3  # rounding: 1e-6
            assert wrong.sum() == borders


def espnet_chunks(options, chunking, milliseconds, samples, frontend=None, normalize=None):
    """What ESPnet's streaming recogniser hands to its encoder, as its command line cuts audio."""
    processor = OnlineAudioProcessor(
        frontend or EspnetFrontend(**options),
        normalize,
        milliseconds,
        chunking.subsampling_factor,
        options,
        torch.device("cpu"),
        audio_sampling_rate=options["fs"],
    )
    size = processor.decoding_samples
    assert size == chunking.decoding_window
    steps = len(samples) // size
    return [
        processor.compute_features(
            torch.from_numpy(samples[i * size : (i + 1) * size]), is_final=i == steps
        )[0][0].numpy()
        for i in range(steps + 1)
    ]


def test_one_utterance_after_another():
    stream = digits_stream()
    first = run(stream, [LONGEST])
    run(stream, [LONGEST[:3000]])
    assert_same(run(stream, [LONGEST]), first)


def test_a_reset_forgets_the_utterance():
    stream = digits_stream()
    stream.accept(LONGEST[:7000])
    stream.reset()
    assert_same(run(stream, [LONGEST]), run(digits_stream(), [LONGEST]))


def test_chunks_come_as_soon_as_their_window_is_full():
    stream = digits_stream()
    assert stream.accept(LONGEST[:5119]) == []
    assert len(stream.accept(LONGEST[5119:5120])) == 1
    assert len(stream.accept(LONGEST[5120:15360])) == 2


def test_a_chunk_is_not_overwritten_by_the_next():
    stream = digits_stream()
    (chunk,) = stream.accept(LONGEST[:5120])
    before = chunk.features.copy()
    stream.accept(LONGEST[5120:15360])
    assert np.array_equal(chunk.features, before)


def test_memory_does_not_grow():
    stream = digits_stream()
    sizes = set()
    for _ in range(6):
        stream.accept(LONGEST[:5120])
        sizes.add(stream._kept.size)
    assert max(sizes) < 2 * 256


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(10, np.int16),
        np.zeros(10),
        np.zeros((1, 10), np.float32),
        [0.0, 0.1],
        torch.zeros(10),
    ],
    ids=["int16", "float64", "two axes", "list", "torch"],
)
def test_samples_of_another_kind(samples):
    with pytest.raises(ContractError, match=r"array float32 with one axis, in .* divide 16-bit"):
        digits_stream().accept(samples)


def test_needs_no_torch():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import deploy_bias.runtime.features, deploy_bias.bundle.chunking"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
