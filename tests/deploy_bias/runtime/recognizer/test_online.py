"""From samples to text: what ESPnet's streaming pipeline gives, however the audio comes."""

import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from time import sleep

import numpy as np
import pytest
import soxr
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy_bias.bundle import Bundle
from deploy_bias.errors import BackendError, BundleError, ContractError, OptionError
from deploy_bias.runtime import EndpointRules, Recognizer
from deploy_bias.runtime.samples import SampleStream
from tests.deploy_bias.runtime.search.test_search import espnet, espnet_search
from tests.deploy_bias.runtime.test_features import pieces_of
from tests.espnet import speech
from tests.espnet.speech import NAMES, RATE, encoder_chunks, encoder_pieces, samples_of

BACKENDS = ("onnx", "executorch", "torchscript")
SHORT = samples_of("digits_55")


@pytest.fixture(scope="module")
def recognizer(digits_bundle):
    return Recognizer(digits_bundle, lead_in=0)


def decode_all(recognizer, stream):
    while recognizer.is_ready(stream):
        recognizer.decode_stream(stream)


def recognize(recognizer, pieces, rate=RATE):
    """Feed pieces and decode what is ready after each."""
    with recognizer.create_stream() as stream:
        for piece in pieces:
            stream.accept_waveform(rate, piece)
            decode_all(recognizer, stream)
        stream.input_finished()
        decode_all(recognizer, stream)
        return recognizer.get_result(stream)


@torch.no_grad()
def espnet_greedy(folder, pieces):
    """The best label of each step, by ESPnet's decoder and joint network."""
    decoder, joint, _ = espnet(folder)
    labels, score = [], 0.0
    out, state = decoder.score([0], decoder.init_state(1))
    for frame in torch.from_numpy(np.concatenate(pieces)):
        while True:
            log_probs = joint(frame[None], out).log_softmax(-1)[0]
            label = int(log_probs.argmax())
            score += float(log_probs[label])
            if label == 0:
                break
            labels.append(label)
            out, state = decoder.score([0, *labels], state)
    return tuple(labels), score


class TestAgainstEspnet:
    """Features, encoder and search of ESPnet, chunk by chunk, on recordings of people."""

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("milliseconds", [640, 320])
    def test_greedy(self, request, digits, name, milliseconds):
        recognizer = Recognizer(bundle_of(request, milliseconds), lead_in=0)
        labels, score = espnet_greedy(digits, encoder_pieces(name, milliseconds))
        found = recognizer.decode(samples_of(name), RATE)
        assert labels
        assert found.labels == labels
        assert abs(found.score - score) < 1e-3
        assert found.text == " ".join(found.tokens)

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("milliseconds", [640, 320])
    @pytest.mark.parametrize("search", ["default", "maes"])
    def test_beam(self, request, digits, name, milliseconds, search):
        recognizer = Recognizer(
            bundle_of(request, milliseconds), search=search, beam_size=4, lead_in=0
        )
        theirs = espnet_search(digits, encoder_pieces(name, milliseconds), search, beam_size=4)
        with recognizer.create_stream() as stream:
            stream.accept_waveform(RATE, samples_of(name))
            stream.input_finished()
            decode_all(recognizer, stream)
            ours = recognizer.get_nbest(stream, 3)
        assert len(ours) == len(theirs)
        for our, their in zip(ours, theirs, strict=True):
            assert our.labels == tuple(their.yseq[1:])
            assert abs(our.score - float(their.score)) < 1e-3

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_every_backend(self, digits, digits_bundle, backend):
        recognizer = Recognizer(digits_bundle, backend, lead_in=0)
        for name in NAMES:
            labels, score = espnet_greedy(digits, encoder_pieces(name))
            found = recognizer.decode(samples_of(name), RATE)
            assert found.labels == labels
            assert abs(found.score - score) < 1e-3


def bundle_of(request, milliseconds):
    name = "digits_bundle" if milliseconds == 640 else f"digits_bundle_{milliseconds}ms"
    return request.getfixturevalue(name)


class TestPieces:
    """However the samples come, the result is the same to the last bit."""

    @settings(max_examples=25)
    @given(st.lists(st.integers(0, 6000), max_size=20))
    def test_any_pieces(self, recognizer, sizes):
        expected = recognizer.decode(SHORT, RATE)
        assert recognize(recognizer, pieces_of(SHORT, sizes)) == expected

    @settings(max_examples=25)
    @given(
        st.sampled_from([16000, 11025, 44100, 48000, 22050.0, 7999]),
        st.lists(st.integers(0, 30000), max_size=20),
    )
    def test_any_pieces_at_any_rate(self, recognizer, rate, sizes):
        samples = soxr.resample(SHORT, RATE, rate)
        expected = recognizer.decode(samples, rate)
        assert expected.text == "five five"
        assert recognize(recognizer, pieces_of(samples, sizes), rate) == expected

    @given(st.sampled_from([16000, 44100]), st.lists(st.integers(0, 3000), max_size=30))
    def test_resampled_samples_are_the_same(self, rate, sizes):
        samples = np.random.default_rng(0).normal(0, 0.1, 20000).astype(np.float32)
        expected = windows_of(rate, [samples])
        for ours, wanted in zip(windows_of(rate, pieces_of(samples, sizes)), expected, strict=True):
            assert np.array_equal(ours, wanted)

    def test_one_sample_at_a_time(self, recognizer):
        pieces = np.split(SHORT, SHORT.size)
        assert recognize(recognizer, pieces) == recognizer.decode(SHORT, RATE)

    def test_pieces_are_copied(self, recognizer):
        piece = np.empty(100, np.float32)

        def reused():
            for first in range(0, SHORT.size, 100):
                part = SHORT[first : first + 100]
                piece[: part.size] = part
                yield piece[: part.size]

        assert recognize(recognizer, reused()) == recognizer.decode(SHORT, RATE)


def windows_of(rate, pieces):
    stream = SampleStream(RATE, 640, 0)
    for piece in pieces:
        stream.accept(rate, piece)
    stream.finish()
    return [samples for samples, _ in stream.windows]


def test_a_hundred_streams_at_once(digits_bundle):
    recognizer = Recognizer(digits_bundle, search="maes", beam_size=2, lead_in=0)
    expected = {name: recognizer.decode(samples_of(name), RATE) for name in NAMES}
    jobs = [NAMES[number % len(NAMES)] for number in range(100)]

    def run(name):
        return recognize(recognizer, np.array_split(samples_of(name), 7))

    with ThreadPoolExecutor(len(jobs)) as threads:
        found = list(threads.map(run, jobs))
    assert found == [expected[name] for name in jobs]


def test_one_thread_feeds_and_another_decodes(recognizer):
    with recognizer.create_stream() as stream, ThreadPoolExecutor(1) as other:

        def feed():
            for piece in np.array_split(samples_of("prompts_0"), 300):
                stream.accept_waveform(RATE, piece)
            stream.input_finished()

        fed = other.submit(feed)
        while not recognizer.get_result(stream).is_final:
            decode_all(recognizer, stream)
        fed.result()
        found = recognizer.get_result(stream)
    assert found == recognizer.decode(samples_of("prompts_0"), RATE)


def test_streams_in_turn(recognizer):
    """One thread, all streams open, a piece to each in turn."""
    streams = {name: recognizer.create_stream() for name in NAMES}
    for part in range(5):
        for name, stream in streams.items():
            stream.accept_waveform(RATE, np.array_split(samples_of(name), 5)[part])
            decode_all(recognizer, stream)
    for name, stream in streams.items():
        stream.input_finished()
        decode_all(recognizer, stream)
        assert recognizer.get_result(stream) == recognizer.decode(samples_of(name), RATE)


class TestLatency:
    def test_ready_as_soon_as_a_window_is_full(self, recognizer):
        stream = recognizer.create_stream()
        stream.accept_waveform(RATE, SHORT[:5119])
        assert not recognizer.is_ready(stream)
        stream.accept_waveform(RATE, SHORT[5119:5120])
        assert recognizer.is_ready(stream)
        recognizer.decode_stream(stream)
        assert not recognizer.is_ready(stream)

    def test_the_result_grows(self, recognizer):
        stream = recognizer.create_stream()
        texts = []
        for piece in np.array_split(samples_of("prompts_0"), 20):
            stream.accept_waveform(RATE, piece)
            decode_all(recognizer, stream)
            texts.append(recognizer.get_result(stream).text)
        assert texts == sorted(texts, key=len)
        assert len(set(texts)) > 4
        assert not recognizer.get_result(stream).is_final

    def test_tokens_come_when_they_are_said(self, recognizer):
        """digits_55 says its words at about 0.6 and 1.3 s."""
        found = recognizer.decode(SHORT, RATE)
        loud = np.abs(SHORT[: SHORT.size // 800 * 800]).reshape(-1, 800).max(1)
        assert len(found.timestamps) == 2
        assert 0 < found.timestamps[0] < found.timestamps[1] < SHORT.size / RATE
        for time in found.timestamps:
            assert loud[max(0, round(time * 10) - 4) : round(time * 10) + 1].max() > 0.1

    @pytest.mark.parametrize("milliseconds", [640, 320])
    def test_the_time_of_a_frame_is_the_middle_of_what_it_sees(self, request, milliseconds):
        recognizer = Recognizer(bundle_of(request, milliseconds), lead_in=0)
        samples = samples_of("prompts_2")
        with recognizer.create_stream() as stream:
            times = times_of(stream)
            stream.accept_waveform(RATE, samples)
            stream.input_finished()
            decode_all(recognizer, stream)
        # ESPnet's input block over the whole utterance, of which streaming drops the first frame.
        features, embedded = espnet_embedded(samples, milliseconds)
        expected = np.concatenate(embedded)
        whole = espnet_embed(features)[0]
        assert len(times) == len(expected)
        torch.testing.assert_close(whole[1 : len(expected) + 1], torch.from_numpy(expected))
        for frame in (0, 1, 30, len(times) - 1):
            (seen,) = torch.autograd.grad(whole[frame + 1].sum(), features, retain_graph=True)
            rows = seen[0].abs().sum(1).nonzero()
            middle = float(rows.min() + rows.max()) / 2
            assert times[frame] == pytest.approx(middle * 64 / RATE)


def times_of(stream):
    """The time of each encoder frame that will be searched."""
    times, advance = [], stream.advance
    stream.advance = lambda encoder_out, new: (times.extend(new), advance(encoder_out, new))[1]
    return times


def espnet_embed(features):
    return speech.encoder().embed(features, torch.zeros(1, features.size(1), dtype=torch.bool))[0]


def espnet_embedded(samples, milliseconds):
    """Features (1, T, M) of an utterance, and of each chunk what ESPnet's encoder keeps."""
    chunks = [torch.from_numpy(f)[None] for f, _ in encoder_chunks(samples, milliseconds)]
    carried = speech.chunking().carried
    features = torch.cat([chunks[0], *(chunk[:, carried:] for chunk in chunks[1:])], 1)
    with torch.no_grad():
        kept = [espnet_embed(chunk)[0, 1:-1].numpy() for chunk in chunks]
    return features.requires_grad_(), kept


class TestLeadIn:
    def test_is_silence_before_the_first_sample(self, digits_bundle, recognizer):
        lead_in = np.zeros(2400, np.float32)
        expected = recognizer.decode(np.concatenate([lead_in, SHORT]), RATE)
        found = Recognizer(digits_bundle, lead_in=0.3).decode(SHORT, RATE)
        assert found.score == expected.score
        assert found.labels == expected.labels
        np.testing.assert_allclose(np.array(expected.timestamps) - 0.3, found.timestamps)

    def test_finds_a_first_word_that_starts_at_once(self, digits_bundle, recognizer):
        """ESPnet's streaming never decodes the first encoder frame."""
        samples = samples_of("prompts_3")
        assert recognizer.decode(samples, RATE).text == "two eight five five one"
        found = Recognizer(digits_bundle).decode(samples, RATE)
        assert found.text == "three five five one"

    @pytest.mark.parametrize("name", NAMES)
    def test_no_silence_is_needed_behind_the_last_word(self, digits_bundle, name):
        """A recording that ends in the middle of its last word: nothing of it is lost."""
        recognizer = Recognizer(digits_bundle)
        samples = samples_of(name)
        loud = np.abs(samples) > 0.05 * np.abs(samples).max()
        cut = samples[: loud.nonzero()[0][-1] + 1]
        silence = np.zeros(RATE // 2, np.float32)
        text = recognizer.decode(cut, RATE).text
        assert text == recognizer.decode(np.concatenate([cut, silence]), RATE).text


class TestStreamsTogether:
    """`decode_streams`: each has the bits that it has alone."""

    @pytest.mark.parametrize("backend", BACKENDS)
    @pytest.mark.parametrize("search", ["greedy", "maes", "default"])
    def test_each_result_is_that_of_the_stream_alone(self, digits_bundle, backend, search):
        recognizer = Recognizer(digits_bundle, backend, search)
        streams = [recognizer.create_stream() for _ in NAMES]
        for stream, name in zip(streams, NAMES, strict=True):
            stream.accept_waveform(RATE, samples_of(name))
            stream.input_finished()
        while ready := [stream for stream in streams if recognizer.is_ready(stream)]:
            recognizer.decode_streams(ready)
        for stream, name in zip(streams, NAMES, strict=True):
            assert recognizer.get_result(stream) == recognizer.decode(samples_of(name), RATE)

    def test_one_that_fails_does_not_end_the_others(self, digits_bundle, monkeypatch):
        recognizer = Recognizer(digits_bundle)
        good, bad = (recognizer.create_stream() for _ in range(2))
        for stream in (bad, good):
            stream.accept_waveform(RATE, samples_of("digits_55"))
            stream.input_finished()
        nan = np.full((3, recognizer.joint.encoder_size), np.nan, np.float32)
        monkeypatch.setattr(bad._encoder, "accept", lambda chunk: nan)
        while recognizer.is_ready(good):
            with pytest.raises(ContractError, match="encoder frame 0 of 3 holds NaN"):
                recognizer.decode_streams([bad, good])
        assert recognizer.get_result(good).text == "five five"

    def test_what_is_refused_decodes_none(self, digits_bundle):
        recognizer = Recognizer(digits_bundle)
        ready, waiting = (recognizer.create_stream() for _ in range(2))
        ready.accept_waveform(RATE, SHORT)
        for streams, message in (
            ([ready, ready], "a stream is there twice"),
            ([ready, waiting], "has nothing to decode yet"),
            ([ready, Recognizer(digits_bundle).create_stream()], "of another recognizer"),
        ):
            with pytest.raises(ContractError, match=message):
                recognizer.decode_streams(streams)
        assert recognizer.get_result(ready).text == ""
        recognizer.decode_streams([])


def test_hotwords_are_of_a_stream_or_of_all(digits_bundle):
    """Boosted so much that anything is heard as it."""
    samples = samples_of("digits_55")
    recognizer = Recognizer(digits_bundle, search="maes", hotwords=["five nine :9"])

    def heard(**options):
        with recognizer.create_stream(**options) as stream:
            stream.accept_waveform(RATE, samples)
            stream.input_finished()
            decode_all(recognizer, stream)
            return recognizer.get_result(stream).text

    assert "five nine" in heard()
    assert "zero" in heard(hotwords={"zero": 25.0})
    assert heard(hotwords=()) == "five five"
    with pytest.raises(OptionError, match="'ten' cannot be spelt"):
        recognizer.create_stream(hotwords=["ten"])
    with pytest.raises(OptionError, match="hotwords must be a list of phrases"):
        recognizer.create_stream(hotwords="five")


class TestEndpoints:
    """sherpa-onnx's three rules; 1.2 s of silence behind a token end an utterance."""

    SILENCE = np.zeros(RATE * 3, np.float32)

    def endings(self, recognizer, samples):
        """The utterances of audio that goes on, and after how many samples each ended."""
        found = []
        with recognizer.create_stream() as stream:
            for end in range(640, samples.size + 1, 640):
                stream.accept_waveform(RATE, samples[end - 640 : end])
                decode_all(recognizer, stream)
                if recognizer.is_endpoint(stream):
                    found.append((recognizer.get_result(stream), end / RATE))
                    recognizer.reset(stream)
        return found

    def test_a_word_and_silence(self, recognizer):
        samples = np.concatenate([SHORT, self.SILENCE, SHORT, self.SILENCE])
        first, *_, second = [
            (result, end) for result, end in self.endings(recognizer, samples) if result.text
        ]
        for result, end in (first, second):
            assert result.text == "five five"
            assert not result.is_final
            last = result.start_time + result.timestamps[-1]
            assert 1.2 <= end - last <= 1.2 + 2 * recognizer.window_seconds
        assert first[0].start_time == 0
        apart = second[0].start_time + second[0].timestamps[0] - first[0].timestamps[0]
        assert abs(apart - (SHORT.size + self.SILENCE.size) / RATE) < 0.1

    def test_silence_alone(self, recognizer):
        ((result, end),) = self.endings(recognizer, self.SILENCE[: int(RATE * 3.3)])
        assert result.text == ""
        assert 2.4 <= end <= 2.4 + 2 * recognizer.window_seconds

    def test_an_utterance_without_end(self, digits_bundle):
        rules = EndpointRules(np.inf, np.inf, 2.0)
        recognizer = Recognizer(digits_bundle, endpoint_rules=rules, lead_in=0)
        samples = np.concatenate([samples_of("prompts_0"), samples_of("prompts_2")])
        ends = [end for _, end in self.endings(recognizer, samples)]
        assert len(ends) >= 3
        assert all(2.0 <= b - a <= 2.0 + 2 * 0.64 for a, b in zip([0, *ends], ends, strict=False))

    @pytest.mark.parametrize(
        ("length", "silence", "expected"),
        [
            (1.1, 1.1, False),
            (1.3, 1.3, False),
            (2.4, 2.4, True),
            (2.0, 1.1, False),
            (2.0, 1.2, True),
            (19.9, 0.0, False),
            (20.0, 0.0, True),
        ],
    )
    def test_rules(self, length, silence, expected):
        assert EndpointRules().is_endpoint(length, silence) is expected

    def test_after_a_reset_no_frame_is_lost(self, recognizer):
        """The encoder goes on: the search alone begins anew."""
        samples = samples_of("prompts_0")
        with recognizer.create_stream() as stream:
            search = recognizer.open_search()
            times = times_of(stream)
            stream.accept_waveform(RATE, samples)
            stream.input_finished()
            for number, frames in enumerate(encoder_frames(recognizer, samples)):
                recognizer.decode_stream(stream)
                search.accept(frames)
                if number == 2:
                    before = times[-1]
                    recognizer.reset(stream)
                    search.reset()
                    assert recognizer.get_result(stream).start_time == before
            found = recognizer.get_result(stream)
            (expected,) = search.results()
        assert (found.labels, found.score) == (expected.labels, expected.score)
        assert found.labels
        assert found.is_final


def encoder_frames(recognizer, samples):
    frames = []
    with recognizer.create_stream() as stream:
        accept = stream._encoder.accept
        stream._encoder.accept = lambda chunk: frames.append(accept(chunk)) or frames[-1]
        stream.accept_waveform(RATE, samples)
        stream.input_finished()
        decode_all(recognizer, stream)
    return frames


@pytest.mark.parametrize("count", [0, 1, 2, 127, 128, 129, 5119, 5120, 5121])
@pytest.mark.parametrize("rate", [RATE, 16000])
def test_utterances_of_any_length(recognizer, count, rate):
    found = recognizer.decode(SHORT[:count], rate)
    assert found.is_final
    assert found.timestamps == tuple(sorted(found.timestamps))


@pytest.mark.parametrize(
    "samples",
    [
        np.ones(9000, np.float32),
        np.sign(SHORT),
        SHORT * 30,
        np.full(9000, -1.0, np.float32),
    ],
    ids=["an offset", "clipped", "16-bit scale", "another offset"],
)
def test_audio_that_is_no_speech_is_no_error(recognizer, samples):
    assert recognizer.decode(samples, RATE).is_final


def test_memory_stays_the_same_for_a_minute(recognizer):
    """Memory is flat, and a reset gives back what an utterance took."""
    audio = np.concatenate([samples_of(name) for name in NAMES])
    with recognizer.create_stream() as stream:

        def feed(samples):
            for piece in np.array_split(samples, samples.size // 800):
                stream.accept_waveform(RATE, piece)
                decode_all(recognizer, stream)
                if recognizer.is_endpoint(stream):
                    recognizer.reset(stream)

        feed(audio)
        recognizer.reset(stream)
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(2):
            feed(audio)
        recognizer.reset(stream)
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
    assert 2 * audio.size > 60 * RATE
    assert grown < 100_000


def test_silence_is_not_remembered(recognizer):
    """A minute of it, without a reset, takes no more than the first seconds."""
    second = np.zeros(RATE, np.float32)
    with recognizer.create_stream() as stream:

        def feed(seconds):
            for _ in range(seconds):
                stream.accept_waveform(RATE, second)
                decode_all(recognizer, stream)

        tracemalloc.start()
        feed(20)
        before = tracemalloc.get_traced_memory()[0]
        feed(60)
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert not stream.times
    assert grown < 20_000  # 1,500 times would be 84,000


class TestThreads:
    """One stream in several threads: never a wrong text in silence."""

    SAMPLES = samples_of("prompts_2")

    @pytest.fixture(scope="class")
    def expected(self, recognizer):
        return recognizer.decode(self.SAMPLES, RATE)

    @pytest.mark.parametrize("round_", range(10))
    def test_two_that_decode(self, recognizer, expected, round_):
        with recognizer.create_stream() as stream, ThreadPoolExecutor(2) as threads:
            stream.accept_waveform(RATE, self.SAMPLES)
            stream.input_finished()
            done = [threads.submit(decode_all, recognizer, stream) for _ in range(2)]
            for error in filter(None, [one.exception() for one in done]):
                assert isinstance(error, ContractError)
                assert "another thread decodes this stream" in str(error) or "yet" in str(error)
            decode_all(recognizer, stream)  # if both were refused
            assert recognizer.get_result(stream) == expected

    def test_a_second_one_is_refused(self, recognizer):
        with recognizer.create_stream() as stream, ThreadPoolExecutor(1) as other:
            stream.accept_waveform(RATE, self.SAMPLES)
            with stream.decoding():
                for use in (recognizer.decode_stream, recognizer.reset):
                    with pytest.raises(ContractError, match="another thread decodes this stream"):
                        other.submit(use, stream).result()
                assert other.submit(recognizer.get_result, stream).result().text == ""

    def test_two_that_give_audio(self, recognizer, monkeypatch):
        with recognizer.create_stream() as stream, ThreadPoolExecutor(1) as other:
            accept = stream.samples.accept

            def slow(rate, samples):
                with pytest.raises(ContractError, match="another thread gives audio to"):
                    other.submit(stream.accept_waveform, RATE, samples).result()
                with pytest.raises(ContractError, match="another thread gives audio to"):
                    other.submit(stream.input_finished).result()
                accept(rate, samples)

            monkeypatch.setattr(stream.samples, "accept", slow)
            stream.accept_waveform(RATE, self.SAMPLES)

    @pytest.mark.parametrize("milliseconds", range(0, 30, 3))
    def test_close_while_it_decodes(self, recognizer, milliseconds):
        stream = recognizer.create_stream()
        stream.accept_waveform(RATE, self.SAMPLES)
        with ThreadPoolExecutor(1) as other:
            decoding = other.submit(decode_all, recognizer, stream)
            sleep(milliseconds / 1000)
            stream.close()
            error = decoding.exception()
        assert error is None or isinstance(error, ContractError), error
        assert not stream.samples.windows
        with pytest.raises(ContractError, match="the stream is closed"):
            recognizer.get_result(stream)

    def test_many_short_streams(self, recognizer, expected):
        """Eight threads open, feed, reset and close; results as one at a time."""
        short = recognizer.decode(SHORT, RATE)

        def run(seed):
            random = np.random.default_rng(seed)
            with recognizer.create_stream() as stream:
                stream.accept_waveform(RATE, SHORT[: random.integers(SHORT.size)])
                decode_all(recognizer, stream)
                recognizer.reset(stream)
            cuts = np.sort(random.integers(0, SHORT.size, 5))
            return recognize(recognizer, np.split(SHORT, cuts))

        with ThreadPoolExecutor(8) as threads:
            assert all(found == short for found in threads.map(run, range(100)))


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("rate", "samples", "message"),
        [
            (RATE, np.array([0.0, np.nan], np.float32), "sample 1 of 2 is nan"),
            (RATE, np.array([np.inf], np.float32), "sample 0 of 1 is inf"),
            (RATE, np.array([1e9], np.float32), "sample 0 of 1 is 1000000000"),
            (RATE, np.zeros(9), "got float64"),
            (RATE, np.zeros(9, np.int16), "divide 16-bit samples by 32768"),
            (RATE, np.zeros((9, 2), np.float32), r"got float32 \(9, 2\)"),
            (RATE, [0.0], "got list"),
            (0, SHORT, "must be 1000 to 768000"),
            (-8000, SHORT, "must be 1000 to 768000"),
            (float("nan"), SHORT, "must be 1000 to 768000"),
            (0.001, SHORT, "must be 1000 to 768000"),
            (999, SHORT, "must be 1000 to 768000"),
            (1e300, SHORT, "must be 1000 to 768000"),
            (768001, SHORT, "must be 1000 to 768000"),
            ("8k", SHORT, "must be 1000 to 768000"),
            (True, SHORT, "must be 1000 to 768000"),
            (16000, SHORT, "must stay 8000"),
        ],
    )
    def test_audio(self, recognizer, rate, samples, message):
        with recognizer.create_stream() as stream:
            stream.accept_waveform(RATE, SHORT[:9000])
            with pytest.raises(ContractError, match=message):
                stream.accept_waveform(rate, samples)
            stream.accept_waveform(RATE, SHORT[9000:])
            stream.input_finished()
            decode_all(recognizer, stream)
            assert recognizer.get_result(stream) == recognizer.decode(SHORT, RATE)

    def test_a_wrong_rate_at_first_leaves_the_rate_open(self, recognizer):
        with recognizer.create_stream() as stream:
            with pytest.raises(ContractError):
                stream.accept_waveform(16000, np.zeros(9))
            stream.accept_waveform(RATE, SHORT)

    def test_audio_after_the_end(self, recognizer):
        with recognizer.create_stream() as stream:
            stream.accept_waveform(RATE, SHORT)
            stream.input_finished()
            for use in (lambda: stream.accept_waveform(RATE, SHORT), stream.input_finished):
                with pytest.raises(ContractError, match="finished"):
                    use()
            decode_all(recognizer, stream)
            assert recognizer.get_result(stream) == recognizer.decode(SHORT, RATE)

    def test_a_closed_stream(self, recognizer):
        stream = recognizer.create_stream()
        stream.close()
        for use in (
            lambda: stream.accept_waveform(RATE, SHORT),
            stream.input_finished,
            lambda: recognizer.is_ready(stream),
            lambda: recognizer.decode_stream(stream),
            lambda: recognizer.get_result(stream),
            lambda: recognizer.is_endpoint(stream),
            lambda: recognizer.reset(stream),
        ):
            with pytest.raises(ContractError, match="the stream is closed"):
                use()

    def test_decoding_too_early(self, recognizer):
        with recognizer.create_stream() as stream:
            stream.accept_waveform(RATE, SHORT[:100])
            with pytest.raises(ContractError, match="ask is_ready before"):
                recognizer.decode_stream(stream)

    def test_the_stream_of_another_recognizer(self, recognizer, digits_bundle):
        with (
            Recognizer(digits_bundle, lead_in=0).create_stream() as stream,
            pytest.raises(ContractError, match="of another recognizer"),
        ):
            recognizer.get_result(stream)

    def test_a_bundle_without_an_encoder(self, digits_bundle):
        bundle = Bundle(digits_bundle.folder)
        kept = [a for a in bundle.manifest.artifacts if a.path in ("decoder.onnx", "joiner.onnx")]
        bundle.manifest = bundle.manifest.model_copy(update={"artifacts": tuple(kept)})
        with pytest.raises(
            BundleError, match="has no graph frontend and no graph encoder for onnx, so"
        ):
            Recognizer(bundle, lead_in=0)

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"search": "beam"}, OptionError, "choose from greedy"),
            ({"beam_size": 3}, OptionError, "beam_size"),
            (
                {"search": "maes", "beam_size": 0},
                OptionError,
                "beam_size must be an int, 1 or more",
            ),
            ({"backend": "tflite"}, BackendError, "backend 'tflite' is unknown"),
            ({"precision": "int4"}, BackendError, "in precision 'int4'"),
            ({"lead_in": -1.0}, OptionError, "lead_in must be 0 to 60"),
            ({"lead_in": float("nan")}, OptionError, "lead_in must be 0 to 60"),
        ],
    )
    def test_options(self, digits_bundle, options, error, message):
        with pytest.raises(error, match=message):
            Recognizer(digits_bundle, **options)

    def test_another_rate_without_soxr(self, recognizer, monkeypatch):
        monkeypatch.setitem(sys.modules, "soxr", None)
        with recognizer.create_stream() as stream:
            with pytest.raises(BackendError, match="soxr is not installed: pip install"):
                stream.accept_waveform(16000, SHORT)
            stream.accept_waveform(RATE, SHORT)
