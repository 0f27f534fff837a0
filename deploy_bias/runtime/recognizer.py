"""Speech in, text out: everything from samples to text, for any number of streams. No torch here.

recognizer = Recognizer("my-bundle", search="maes", beam_size=4)
stream = recognizer.create_stream()
for samples in microphone:
    stream.accept_waveform(16000, samples)
    while recognizer.is_ready(stream):
        recognizer.decode_stream(stream)
    print(recognizer.get_result(stream).text)
    if recognizer.is_endpoint(stream):
        recognizer.reset(stream)

The names are those of sherpa-onnx's OnlineRecognizer. What is computed is what ESPnet's streaming
Speech2Text computes: a chunk of features for each decoding window, the encoder, the search.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deploy_bias.bundle import Bundle
from deploy_bias.chunking import Chunking
from deploy_bias.contract import FrontendModule, Precision
from deploy_bias.errors import BundleError, ContractError, OptionError
from deploy_bias.runtime.decoder import Decoder
from deploy_bias.runtime.encoder import Encoder
from deploy_bias.runtime.endpoint import EndpointRules
from deploy_bias.runtime.graph import load
from deploy_bias.runtime.joint import Joint
from deploy_bias.runtime.recognizer_stream import RecognizerStream
from deploy_bias.runtime.search import Result, Search, open_search
from deploy_bias.runtime.tokens import Tokens


@dataclass(frozen=True)
class Recognition:
    """What was recognised of an utterance so far.

    text, tokens, labels: the same, three times; labels without blanks.
    timestamps: of each token, seconds from `start_time`: the middle of what the encoder frame
        sees that the token came at.
    start_time: where the utterance begins, seconds from the first sample of the stream.
    score: natural log-probability of the path.
    is_final: the input is over and nothing is left to decode.
    """

    text: str
    tokens: tuple[str, ...]
    timestamps: tuple[float, ...]
    labels: tuple[int, ...]
    start_time: float
    score: float
    is_final: bool


class Recognizer:
    """A bundle that was exported with its encoder; streams share it, from any threads.

    Args:
        bundle: the folder, or one that is open already.
        backend: "onnx", "executorch" or "torchscript".
        search: "greedy", "default" or "maes"; see `deploy_bias.runtime.search`.
        precision: "fp32", "int8" or "int4".
        endpoint_rules: where `is_endpoint` sees an end.
        lead_in: seconds of silence before the first sample. ESPnet's streaming never decodes the
            first encoder frame, so a word that starts in the first 0.2 s can be lost without it.
        search_options: of the search, such as beam_size.

    Attributes:
        sample_rate: of the model, Hz. Other rates are resampled, by soxr.
        window_seconds: of a decoding window, which is decoded at once.

    Raises:
        BundleError: the bundle is damaged, or has no frontend and encoder.
        BackendError: the backend is unknown, not installed or not in the bundle.
        OptionError: the search or an option is unknown or out of range.
    """

    def __init__(
        self,
        bundle: str | Path | Bundle,
        backend: str = "onnx",
        search: str = "greedy",
        *,
        precision: Precision = "fp32",
        endpoint_rules: EndpointRules | None = None,
        lead_in: float = 0.0,
        **search_options: float,
    ) -> None:
        if not 0 <= lead_in < 60:
            raise OptionError(f"lead_in must be 0 to 60 seconds, got {lead_in}.")
        bundle = bundle if isinstance(bundle, Bundle) else Bundle(bundle)
        graphs = load(bundle, backend, precision)
        missing = [
            name for name in ("frontend", "encoder", "decoder", "joint") if name not in graphs
        ]
        if missing:
            raise BundleError(
                f"{bundle.folder}: has no graph {' and no graph '.join(missing)}, so no speech can "
                "be recognised in a stream; export an experiment whose config.yaml has the "
                "frontend and the encoder, without --offline."
            )
        self.tokens = Tokens(bundle)
        self.encoder = Encoder(graphs["encoder"])
        self.decoder = Decoder(graphs["decoder"])
        self.joint = Joint(graphs["joint"])
        self.frontend = graphs["frontend"]
        self.endpoint_rules = endpoint_rules or EndpointRules()
        module = self.frontend.contract.module
        assert isinstance(module, FrontendModule)
        self.chunking = Chunking(
            module.n_fft, module.hop_length, module.decoding_window, module.subsampling_factor
        )
        self.sample_rate = module.fs
        self.window_seconds = module.decoding_window / module.fs
        self.frame_seconds = self.encoder.module.stride * module.hop_length / module.fs
        self.lead_in_samples = round(lead_in * module.fs)
        self._search, self._search_options = search, search_options
        self.open_search().close()  # so that an error in its options shows here

    def open_search(self) -> Search:
        """Open the search of a stream."""
        return open_search(self._search, self.decoder, self.joint, **self._search_options)

    def create_stream(self) -> RecognizerStream:
        """Open a stream."""
        return RecognizerStream(self)

    def is_ready(self, stream: RecognizerStream) -> bool:
        """Say whether there is a whole decoding window, or the end of the input, to decode.

        Raises:
            ContractError: the stream is closed or of another recogniser.
        """
        self._check(stream)
        return bool(stream.samples.windows)

    def decode_stream(self, stream: RecognizerStream) -> None:
        """Decode one window.

        Raises:
            ContractError: the stream is not ready, closed or of another recogniser.
        """
        self._check(stream)
        if not self.is_ready(stream):
            raise ContractError("the stream has no whole window to decode; ask is_ready before.")
        stream.decode()

    def get_result(self, stream: RecognizerStream) -> Recognition:
        """Return what was recognised so far.

        Raises:
            ContractError: the stream is closed or of another recogniser.
        """
        return self.get_nbest(stream, 1)[0]

    def get_nbest(self, stream: RecognizerStream, nbest: int) -> list[Recognition]:
        """Return up to `nbest` results so far, the best one first.

        Raises:
            ContractError: the stream is closed or of another recogniser.
        """
        self._check(stream)
        return [self._recognition(stream, result) for result in stream.search.results(nbest)]

    def is_endpoint(self, stream: RecognizerStream) -> bool:
        """Say whether the utterance has ended, by the endpoint rules.

        Raises:
            ContractError: the stream is closed or of another recogniser.
        """
        self._check(stream)
        (best,) = stream.search.results(1)
        behind = len(stream.times) - 1 - best.frames[-1] if best.frames else len(stream.times)
        return self.endpoint_rules.is_endpoint(
            len(stream.times) * self.frame_seconds, behind * self.frame_seconds
        )

    def reset(self, stream: RecognizerStream) -> None:
        """Begin a new utterance in the audio that goes on.

        The search starts anew; the encoder goes on, so no frame is lost between the two.

        Raises:
            ContractError: the stream is closed or of another recogniser.
        """
        self._check(stream)
        stream.begin_utterance()

    def decode(self, samples: np.ndarray, sample_rate: float) -> Recognition:
        """Recognise a whole utterance.

        Args:
            samples: (any number,) float32 in [-1, 1).
            sample_rate: Hz.

        Raises:
            ContractError: as `RecognizerStream.accept_waveform`.
        """
        with self.create_stream() as stream:
            stream.accept_waveform(sample_rate, samples)
            stream.input_finished()
            while self.is_ready(stream):
                self.decode_stream(stream)
            return self.get_result(stream)

    def _check(self, stream: RecognizerStream) -> None:
        stream.check_open()
        if stream.recognizer is not self:
            raise ContractError("the stream is of another recognizer; use the one that created it.")

    def _recognition(self, stream: RecognizerStream, result: Result) -> Recognition:
        start = stream.start_time
        return Recognition(
            text=self.tokens.text(result.labels),
            tokens=tuple(self.tokens[label] for label in result.labels),
            timestamps=tuple(max(0.0, stream.times[frame] - start) for frame in result.frames),
            labels=result.labels,
            start_time=start,
            score=result.score,
            is_final=stream.is_final,
        )
