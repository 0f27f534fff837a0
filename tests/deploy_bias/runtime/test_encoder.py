"""Chunk by chunk what ESPnet's Encoder.chunk_forward gives."""

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from deploy_bias.errors import ContractError
from deploy_bias.runtime import Encoder, load
from deploy_bias.runtime.features import FeatureChunk
from tests.espnet.speech import NAMES, encoder_chunks, samples_of

BACKENDS = ("onnx", "executorch", "torchscript")


def encoder(bundle, backend="onnx"):
    return Encoder(load(bundle, backend)["encoder"])


def chunk_of(features, most=92):
    """Features (T, M) as a chunk, with zeros behind."""
    padded = np.zeros((1, most, features.shape[1]), np.float32)
    padded[0, : len(features)] = features
    return FeatureChunk(padded, len(features), is_final=False)


def noise(frames=92, seed=0):
    return chunk_of(np.random.default_rng(seed).standard_normal((frames, 40)).astype(np.float32))


@pytest.mark.parametrize("name", NAMES)
def test_recordings(digits_bundle, name):
    with encoder(digits_bundle).stream() as stream:
        for features, expected in encoder_chunks(samples_of(name)):
            got = stream.accept(chunk_of(features))
            assert got.shape == expected.shape
            np.testing.assert_allclose(got, expected, atol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_backend(digits_bundle, backend):
    stream = encoder(digits_bundle, backend).stream()
    for features, expected in encoder_chunks(samples_of("prompts_0")):
        np.testing.assert_allclose(stream.accept(chunk_of(features)), expected, atol=1e-4)


def test_a_shorter_window(digits_bundle_320ms):
    shared = encoder(digits_bundle_320ms)
    for name in NAMES:
        stream = shared.stream()
        for features, expected in encoder_chunks(samples_of(name), 320):
            got = stream.accept(chunk_of(features, shared.features_shape[1]))
            np.testing.assert_allclose(got, expected, atol=1e-4)


def test_a_chunk_too_short_for_a_frame(digits_bundle):
    stream, other = (encoder(digits_bundle).stream() for _ in range(2))
    assert stream.accept(noise(11)).shape == (0, 96)
    assert np.array_equal(stream.accept(noise()), other.accept(noise()))


def test_a_reset_begins_anew(digits_bundle):
    stream = encoder(digits_bundle).stream()
    first = stream.accept(noise())
    assert not np.array_equal(stream.accept(noise()), first)
    stream.reset()
    assert np.array_equal(stream.accept(noise()), first)


def test_frames_are_not_overwritten_by_the_next(digits_bundle):
    stream = encoder(digits_bundle).stream()
    first = stream.accept(noise())
    before = first.copy()
    for seed in range(4):
        stream.accept(noise(seed=seed))
    assert np.array_equal(first, before)


def test_memory_does_not_grow(digits_bundle):
    stream = encoder(digits_bundle).stream()
    for _ in range(5):
        stream.accept(noise())
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(50):  # 384 kB of encoder frames
        stream.accept(noise())
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 30_000


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            (FeatureChunk(np.zeros((1, 91, 40), np.float32), 91, False), r"got float32 \(1, 91,"),
            (FeatureChunk(np.zeros((1, 92, 40)), 92, False), "got float64"),
            (FeatureChunk([[0.0]], 1, False), "got list"),
            (FeatureChunk(np.zeros((1, 92, 40), np.float32), 93, False), "0 to 92, got 93"),
            (FeatureChunk(np.zeros((1, 92, 40), np.float32), -1, False), "0 to 92, got -1"),
            (chunk_of(np.full((5, 40), np.nan, np.float32)), "feature frame 0 of 92 holds NaN"),
        ],
    )
    def test_chunks(self, digits_bundle, wrong, message):
        stream, other = (encoder(digits_bundle).stream() for _ in range(2))
        stream.accept(noise())
        other.accept(noise())
        with pytest.raises(ContractError, match=message):
            stream.accept(wrong)
        assert np.array_equal(stream.accept(noise(seed=1)), other.accept(noise(seed=1)))

    def test_a_closed_stream(self, digits_bundle):
        with encoder(digits_bundle).stream() as stream:
            pass
        with pytest.raises(ContractError, match="closed"):
            stream.accept(noise())

    def test_another_graph(self, digits_bundle):
        graphs = load(digits_bundle)
        with pytest.raises(ContractError, match="graph 'joint' is no streaming encoder"):
            Encoder(graphs["joint"])
        graphs["encoder"].contract = graphs["encoder"].contract.model_copy(
            update={"name": "offline_encoder", "kind": "offline_encoder", "state": ()}
        )
        with pytest.raises(ContractError, match="graph 'offline_encoder' is no streaming encoder"):
            Encoder(graphs["encoder"])


def test_needs_no_torch(digits_bundle):
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import numpy as np; from deploy_bias.runtime import Recognizer\n"
        f"recognizer = Recognizer({str(digits_bundle.folder)!r})\n"
        "assert recognizer.decode(np.zeros(8000, np.float32), 8000).is_final"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
