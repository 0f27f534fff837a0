"""Whole utterances to text: what ESPnet's Speech2Text gives without streaming."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soxr
import torch

from deploy_bias.bundle import Bundle
from deploy_bias.errors import BackendError, BundleError, ContractError, OptionError
from deploy_bias.runtime import OfflineRecognizer, Recognizer, load, open_recognizer
from tests.deploy_bias.runtime.recognizer.test_online import (
    decode_all,
    espnet_greedy,
    recognize,
    times_of,
)
from tests.deploy_bias.runtime.search.test_search import espnet_search
from tests.espnet import speech
from tests.espnet.speech import NAMES, RATE, samples_of

SHORT = samples_of("digits_55")
SECONDS = 600


@pytest.fixture(scope="module")
def recognizer(offline_bundle):
    return OfflineRecognizer(offline_bundle, lead_in=0)


class TestAgainstEspnet:
    """Features, encoder and search of ESPnet on whole recordings of people."""

    @pytest.mark.parametrize("name", NAMES)
    def test_encoder_frames(self, recognizer, name):
        expected = speech.digits().whole(samples_of(name))
        with recognizer.create_stream() as stream:
            found = stream._encode(samples_of(name))
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, atol=1e-4)

    @pytest.mark.parametrize("name", NAMES)
    def test_greedy(self, recognizer, digits, name):
        labels, score = espnet_greedy(digits, [speech.digits().whole(samples_of(name))])
        found = recognizer.decode(samples_of(name), RATE)
        assert labels
        assert found.labels == labels
        assert abs(found.score - score) < 1e-3
        assert found.text == " ".join(found.tokens)
        assert found.is_final

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize(("search", "beam_size"), [("default", 1), ("default", 4), ("maes", 4)])
    def test_beam(self, offline_bundle, digits, name, search, beam_size):
        recognizer = OfflineRecognizer(
            offline_bundle, search=search, beam_size=beam_size, lead_in=0
        )
        whole = speech.digits().whole(samples_of(name))
        theirs = espnet_search(digits, [whole], search, beam_size=beam_size)
        with recognizer.create_stream() as stream:
            stream.accept_waveform(RATE, samples_of(name))
            stream.input_finished()
            decode_all(recognizer, stream)
            ours = recognizer.get_nbest(stream, 3)
        assert len(ours) == len(theirs)
        for our, their in zip(ours, theirs, strict=True):
            assert our.labels == tuple(their.yseq[1:])
            assert abs(our.score - float(their.score)) < 1e-3

    def test_it_hears_what_streaming_loses(self, recognizer):
        """The first word of prompts_3 starts at once, where ESPnet's streaming drops a frame."""
        assert recognizer.decode(samples_of("prompts_3"), RATE).text == "three five five one"


def test_the_time_of_a_frame_is_the_middle_of_what_it_sees(recognizer):
    samples = samples_of("prompts_2")
    with recognizer.create_stream() as stream:
        times = times_of(stream)
        recognize_in(recognizer, stream, samples)
    model = speech.digits()
    features = torch.zeros(1, samples.size // 64 + 1, 40).normal_().requires_grad_()
    embedded = model.encoder.embed(features, torch.zeros(features.shape[:2], dtype=torch.bool))[0]
    assert len(times) == embedded.size(1)
    for frame in (0, 1, 30, len(times) - 1):
        (seen,) = torch.autograd.grad(embedded[0, frame].sum(), features, retain_graph=True)
        rows = seen[0].abs().sum(1).nonzero()
        middle = float(rows.min() + rows.max()) / 2
        assert times[frame] == pytest.approx(middle * 64 / RATE)


def recognize_in(recognizer, stream, samples):
    stream.accept_waveform(RATE, samples)
    stream.input_finished()
    decode_all(recognizer, stream)


def test_the_pieces_do_not_matter_and_nothing_is_ready_before_the_end(recognizer):
    samples = soxr.resample(SHORT, RATE, 44100)
    expected = recognizer.decode(samples, 44100)
    assert expected.text == "five five"
    assert recognize(recognizer, np.array_split(samples, 77), 44100) == expected
    with recognizer.create_stream() as stream:
        stream.accept_waveform(44100, samples)
        assert not recognizer.is_ready(stream)
        assert recognizer.get_result(stream).text == ""
        stream.input_finished()
        assert recognizer.is_ready(stream)
        recognizer.decode_stream(stream)
        assert not recognizer.is_ready(stream)
        assert recognizer.get_result(stream) == expected


def test_streams_in_threads(recognizer):
    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(lambda n: recognizer.decode(samples_of(n), RATE), NAMES * 4))
    assert found == [recognizer.decode(samples_of(name), RATE) for name in NAMES] * 4


def test_a_lead_in_is_silence_before_the_first_sample(offline_bundle, recognizer):
    expected = recognizer.decode(np.concatenate([np.zeros(2400, np.float32), SHORT]), RATE)
    found = OfflineRecognizer(offline_bundle, lead_in=0.3).decode(SHORT, RATE)
    assert (found.labels, found.score) == (expected.labels, expected.score)
    np.testing.assert_allclose(np.array(expected.timestamps) - 0.3, found.timestamps)


class TestBadAudio:
    """As in streaming: an empty text, or a clear error that leaves the stream as it was."""

    @pytest.mark.parametrize("count", [0, 1, 128, 129, 640, 641])
    @pytest.mark.parametrize("rate", [RATE, 16000])
    def test_too_short_for_a_frame_is_an_empty_text(self, recognizer, count, rate):
        found = recognizer.decode(SHORT[8000:][:count], rate)
        assert found.is_final
        assert found.text == ""

    def test_the_shortest_with_a_frame(self, recognizer):
        """ESPnet's encoder takes 7 feature frames: 6 hops of samples."""
        with recognizer.create_stream() as stream:
            assert len(stream._encode(SHORT[: 6 * 64 - 1])) == 0
            assert len(stream._encode(SHORT[: 6 * 64])) == 1

    @pytest.mark.parametrize(
        "samples",
        [np.zeros(9000, np.float32), np.ones(9000, np.float32), np.sign(SHORT), SHORT * 30],
        ids=["silence", "an offset", "clipped", "16-bit scale"],
    )
    def test_audio_that_is_no_speech_is_no_error(self, recognizer, samples):
        assert recognizer.decode(samples, RATE).is_final

    @pytest.mark.parametrize(
        ("rate", "samples", "message"),
        [
            (RATE, np.array([0.0, np.nan], np.float32), "sample 1 of 2 is nan"),
            (RATE, np.zeros(9), "got float64"),
            (16000, SHORT, "must stay 8000"),
            (
                RATE,
                np.zeros(RATE * SECONDS, np.float32),
                "longer than the graphs take, by 1.1 s so",
            ),
        ],
        ids=["NaN", "float64", "another rate", "too long"],
    )
    def test_an_error_changes_nothing(self, recognizer, rate, samples, message):
        with recognizer.create_stream() as stream:
            stream.accept_waveform(RATE, SHORT[:9000])
            with pytest.raises(ContractError, match=message):
                stream.accept_waveform(rate, samples)
            recognize_in(recognizer, stream, SHORT[9000:])
            assert recognizer.get_result(stream) == recognizer.decode(SHORT, RATE)

    @pytest.mark.parametrize("rate", [RATE, 44100])
    def test_the_longest(self, offline_bundle, rate):
        """All that may come, is taken, and the lead-in counts."""
        recognizer = OfflineRecognizer(offline_bundle, lead_in=1.0)
        with recognizer.create_stream() as stream:
            stream.accept_waveform(rate, np.zeros(rate * (SECONDS - 1), np.float32))
            with pytest.raises(ContractError, match="cut it at a pause, or export without"):
                stream.accept_waveform(rate, np.zeros(1, np.float32))
            stream.input_finished()
            assert sum(window.size for window, _ in stream.samples.windows) == RATE * SECONDS


def test_audio_after_the_end_and_a_closed_stream(recognizer):
    with recognizer.create_stream() as stream:
        recognize_in(recognizer, stream, SHORT)
        with pytest.raises(ContractError, match="finished"):
            stream.accept_waveform(RATE, SHORT)
        with pytest.raises(ContractError, match="ask is_ready before"):
            recognizer.decode_stream(stream)
    with pytest.raises(ContractError, match="the stream is closed"):
        recognizer.get_result(stream)


class TestWhichRecognizer:
    def test_it_is_that_of_the_bundle(self, digits_bundle, offline_bundle):
        assert type(open_recognizer(digits_bundle)) is Recognizer
        assert type(open_recognizer(offline_bundle.folder, search="maes")) is OfflineRecognizer

    def test_the_other_one_says_what_to_do(self, digits_bundle, offline_bundle):
        with pytest.raises(
            BundleError, match=r"no graph frontend and .*export .* without --offline"
        ):
            Recognizer(offline_bundle, lead_in=0)
        message = "no graph offline_frontend and .*export with --offline --backend onnx,executorch"
        with pytest.raises(BundleError, match=message):
            OfflineRecognizer(digits_bundle, lead_in=0)

    def test_a_backend_without_offline_graphs(self, offline_bundle):
        assert "decoder" in load(offline_bundle, "torchscript")
        with pytest.raises(BundleError, match=r"no graph frontend .* for torchscript, .* without"):
            open_recognizer(offline_bundle, "torchscript")

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"backend": "tflite"}, BackendError, "backend 'tflite' is unknown"),
            ({"search": "beam"}, OptionError, "choose from greedy"),
            ({"precision": "int4"}, BackendError, "in precision 'int4'"),
            ({"lead_in": -1.0}, OptionError, "lead_in must be 0 to 60"),
        ],
    )
    def test_options(self, offline_bundle, options, error, message):
        with pytest.raises(error, match=message):
            open_recognizer(Bundle(offline_bundle.folder), **options)
