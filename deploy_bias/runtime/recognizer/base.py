"""What recognisers of streams and of whole utterances share. No torch here."""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import takewhile
from pathlib import Path
from threading import Lock
from typing import ClassVar

import numpy as np

from deploy_bias.bundle import Bundle
from deploy_bias.bundle.contract import Precision, settings_of
from deploy_bias.bundle.settings import EncoderSettings, FrontendSettings
from deploy_bias.errors import BundleError, ContractError, OptionError
from deploy_bias.runtime.decoder import Decoder
from deploy_bias.runtime.graph import Graph
from deploy_bias.runtime.joint import Joint
from deploy_bias.runtime.language_model import LanguageModel, lm_graph
from deploy_bias.runtime.phrases import Phrases, spell
from deploy_bias.runtime.proof.fallback import Check, load_checked
from deploy_bias.runtime.recognizer.recognition import Recognition, Word, mean
from deploy_bias.runtime.recognizer.threads import ThreadedStream
from deploy_bias.runtime.samples import SampleStream
from deploy_bias.runtime.search import Hotwords, Result, Search, check_weight, open_search
from deploy_bias.runtime.search.scorer import Steps
from deploy_bias.runtime.tokens import Tokens

LEAD_IN = 0.3
"""Seconds of silence before the first sample, if nothing is said. ESPnet's streaming never decodes
the first encoder frame, so a word that begins at once can be lost; with 0 it is ESPnet to the
letter. Behind the last sample nothing is needed: all of it is decoded."""


class BaseRecognizer(ABC):
    """A bundle and a search; see `Recognizer` and `OfflineRecognizer` for the arguments.

    Attributes:
        sample_rate: of the model, Hz. Other rates are resampled, by soxr.
        frame_seconds: from an encoder frame to the next.
    """

    ENCODER_SETTINGS: ClassVar[type[EncoderSettings]]
    GRAPHS: ClassVar[tuple[str, str]]
    """The frontend and the encoder."""
    WAY_OUT: ClassVar[str]
    """What helps where a bundle has not got them."""

    def __init__(
        self,
        bundle: str | Path | Bundle,
        backend: str = "onnx",
        search: str = "greedy",
        *,
        precision: Precision = "fp32",
        providers: Sequence[str] = (),
        check: Check = False,
        graphs: Mapping[str, Graph] | None = None,
        lead_in: float = LEAD_IN,
        hotwords: Phrases = (),
        lm_weight: float = 0.0,
        **search_options: float,
    ) -> None:
        if not 0 <= lead_in < 60:
            raise OptionError(f"lead_in must be 0 to 60 seconds, got {lead_in}.")
        bundle = bundle if isinstance(bundle, Bundle) else Bundle(bundle)
        if graphs is None:
            graphs = load_checked(bundle, backend, precision, providers, check)
        missing = [name for name in (*self.GRAPHS, "decoder", "joint") if name not in graphs]
        if missing:
            raise BundleError(
                f"{bundle.folder}: has no graph {' and no graph '.join(missing)} for {backend}, "
                f"{self.WAY_OUT}"
            )
        self.tokens = Tokens(bundle)
        self._take(graphs)
        self.lead_in_samples = round(lead_in * self.sample_rate)
        self._search, self._search_options = search, search_options
        self._hotwords = self._spelt(hotwords)
        self._lm_weight = check_weight(lm_weight)
        self._lm = LanguageModel(lm_graph(graphs, bundle)) if lm_weight else None
        self.open_search().close()  # so that an error in its options shows here

    def _take(self, graphs: Mapping[str, Graph]) -> None:
        self.decoder = Decoder(graphs["decoder"])
        self.joint = Joint(graphs["joint"])
        self.frontend, self.encoder_graph = (graphs[name] for name in self.GRAPHS)
        self.frontend_settings = settings_of(self.frontend.contract, FrontendSettings)
        self.encoder_settings = settings_of(self.encoder_graph.contract, self.ENCODER_SETTINGS)
        self.sample_rate = self.frontend_settings.fs
        hop = self.encoder_settings.stride * self.frontend_settings.hop_length
        self.frame_seconds = hop / self.sample_rate

    def open_search(self, hotwords: Phrases | None = None) -> Search:
        """Open the search of a stream; None are the hotwords of the recogniser."""
        return open_search(
            self._search,
            self.decoder,
            self.joint,
            hotwords=self._hotwords if hotwords is None else self._spelt(hotwords),
            lm=self._lm,
            lm_weight=self._lm_weight,
            **self._search_options,
        )

    def _spelt(self, hotwords: Phrases) -> Hotwords | None:
        return spell(self.tokens, hotwords) if hotwords else None

    @abstractmethod
    def create_stream(self, hotwords: Phrases | None = None) -> BaseStream:
        """Open a stream.

        Args:
            hotwords: of it, in the place of the recogniser's; `()` is none.

        Raises:
            OptionError: one cannot be spelt, a boost is no number above 0, or the search has no
                beam.
        """

    def is_ready(self, stream: BaseStream) -> bool:
        """Say whether there is something to decode.

        Raises:
            ContractError: the stream is closed or of another recogniser.
        """
        self._check(stream)
        return stream.is_ready

    def decode_stream(self, stream: BaseStream) -> None:
        """Decode what is ready.

        Raises:
            ContractError: the stream is not ready, closed or of another recogniser, or another
                thread decodes it.
        """
        self.decode_streams([stream])

    def decode_streams(self, streams: Sequence[BaseStream]) -> None:
        """Decode what is ready of several streams: a decoding window of each, or an utterance.

        Their searches are answered together, so that a call of the decoder or the joint network
        has as many rows as the bundle's --batch. A stream's result is the same bits as alone.

        Raises:
            ContractError: a stream is there twice, not ready, closed or of another recogniser, or
                another thread decodes it: then none is decoded. Or the audio of one makes NaN or
                infinity: then the others are decoded before.
        """
        if len(set(streams)) < len(streams):
            raise ContractError("a stream is there twice; decode each once.")
        for stream in streams:
            self._check(stream)
        with ExitStack() as held:
            for stream in streams:
                held.enter_context(stream.decoding())
            if not all(self.is_ready(stream) for stream in streams):
                raise ContractError("the stream has nothing to decode yet; ask is_ready before.")
            if streams:
                streams[0].search.scorer.run([stream.steps() for stream in streams])

    def get_result(self, stream: BaseStream) -> Recognition:
        """Return what was recognised so far.

        Raises:
            ContractError: the stream is closed or of another recogniser.
        """
        return self.get_nbest(stream, 1)[0]

    def get_nbest(self, stream: BaseStream, nbest: int) -> list[Recognition]:
        """Return up to `nbest` results so far, the best one first.

        Raises:
            ContractError: the stream is closed or of another recogniser.
        """
        self._check(stream)
        with stream.view:
            return [self._recognition(stream, result) for result in stream.search.results(nbest)]

    def decode(self, samples: np.ndarray, sample_rate: float) -> Recognition:
        """Recognise a whole utterance.

        Args:
            samples: (any number,) float32 in [-1, 1).
            sample_rate: Hz.

        Raises:
            ContractError: as `accept_waveform` of the stream.
        """
        with self.create_stream() as stream:
            stream.accept_waveform(sample_rate, samples)
            stream.input_finished()
            while self.is_ready(stream):
                self.decode_stream(stream)
            return self.get_result(stream)

    def _check(self, stream: BaseStream) -> None:
        stream.check_open()
        if stream.recognizer is not self:
            raise ContractError("the stream is of another recognizer; use the one that created it.")

    def _recognition(self, stream: BaseStream, result: Result) -> Recognition:
        start = stream.start_time
        times = [max(0.0, stream.times[frame] - start) for frame in result.frames]
        return Recognition(
            text=self.tokens.text(result.labels),
            tokens=tuple(self.tokens[label] for label in result.labels),
            timestamps=tuple(times),
            labels=result.labels,
            log_probs=result.log_probs,
            words=tuple(self._words(result, times)),
            confidence=mean(result.log_probs),
            start_time=start,
            score=result.score,
            is_final=stream.is_final,
        )

    def _words(self, result: Result, times: Sequence[float]) -> Iterator[Word]:
        words = self.tokens.words(result.labels)
        starts = [times[word.start] for word in words]
        for word, start, limit in zip(words, starts, [*starts[1:], math.inf], strict=False):
            yield Word(
                text=self.tokens.text(result.labels[word]),
                start=start,
                end=min(times[word.stop - 1] + self.frame_seconds, limit),
                confidence=mean(result.log_probs[word]),
            )


class BaseStream(ThreadedStream):
    """Audio on its way to text. Close it, or use it in a `with` statement.

    One thread may give it audio while another decodes, and any may read the result or close it.

    Args:
        recognizer: that decodes it.
        samples: what comes in.
        hotwords: of it, in the place of the recogniser's.

    Attributes:
        frames: encoder frames of the utterance.
        times: of those that a hypothesis has a label at, seconds from the first sample.
        start_time: of the utterance, seconds from the first sample.
        is_final: the input is over and all of it was decoded.
        view: held while the result is read or the utterance ends.
    """

    def __init__(
        self, recognizer: BaseRecognizer, samples: SampleStream, hotwords: Phrases | None
    ) -> None:
        super().__init__()
        self.recognizer = recognizer
        self.samples = samples
        self.search = recognizer.open_search(hotwords)
        self.is_final = False
        self.start_time = 0.0
        self.frames = 0
        self.times: dict[int, float] = {}
        self.view = Lock()

    def accept_waveform(self, sample_rate: float, samples: np.ndarray) -> None:
        """Take the next samples, as many as there are.

        Args:
            sample_rate: Hz, the same for the whole stream.
            samples: (any number,) float32 in [-1, 1), one channel.

        Raises:
            ContractError: the samples are no float32 array with one axis or hold NaN or infinity,
                the rate is outside SAMPLE_RATES or another than before, the stream is finished,
                closed or longer than its graphs take, or another thread gives it audio. Nothing
                is changed then.
            BackendError: they must be resampled, and soxr is not installed.
        """
        with self.feeding():
            self.samples.accept(sample_rate, samples)

    def input_finished(self) -> None:
        """End the input; what is left of it can be decoded then.

        Raises:
            ContractError: the stream is finished or closed, or another thread gives it audio.
        """
        with self.feeding():
            self.samples.finish()

    @property
    @abstractmethod
    def is_ready(self) -> bool:
        """Whether there is something to decode."""

    @abstractmethod
    def steps(self) -> Steps:
        """Decode what is ready, on the answers to what its search asks."""

    def _free(self) -> None:
        """Give back the memory."""
        self.search.close()
        self.samples.windows.clear()

    def time(self, first: int, frame: int) -> float:
        """Return when an encoder frame is, by its number behind feature frame `first`."""
        frontend, encoder = self.recognizer.frontend_settings, self.recognizer.encoder_settings
        # It sees stride + offset feature frames, each centred on a multiple of hop_length.
        middle = first + (encoder.stride + encoder.offset - 1) / 2
        sample = (middle + frame * encoder.stride) * frontend.hop_length
        return (sample - self.recognizer.lead_in_samples) / frontend.fs

    def advance(self, encoder_out: np.ndarray, times: Sequence[float]) -> Steps:
        """Search on.

        Args:
            encoder_out: encoder frames (T, D).
            times: of each, seconds from the first sample.
        """
        start = self.frames
        new = dict(enumerate(times, start))
        self.times |= new
        try:
            yield from self.search.steps(encoder_out)
            self.frames += len(encoder_out)
        finally:
            labelled = {
                frame
                for result in self.search.results(sys.maxsize)
                for frame in takewhile(lambda frame: frame >= start, reversed(result.frames))
            }
            for frame in new.keys() - labelled:  # silence is not remembered
                del self.times[frame]
