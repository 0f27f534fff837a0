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

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from deploy_bias.bundle import Bundle
from deploy_bias.bundle.contract import Precision
from deploy_bias.bundle.settings import EncoderSettings
from deploy_bias.errors import OptionError
from deploy_bias.runtime.encoder import Encoder
from deploy_bias.runtime.features import FeatureStream
from deploy_bias.runtime.graph import Graph
from deploy_bias.runtime.phrases import Phrases
from deploy_bias.runtime.proof.fallback import Check
from deploy_bias.runtime.recognizer.base import LEAD_IN, BaseRecognizer, BaseStream
from deploy_bias.runtime.recognizer.endpoint import EndpointRules
from deploy_bias.runtime.samples import SampleStream
from deploy_bias.runtime.search import SEARCHES
from deploy_bias.runtime.search.scorer import Steps


class Recognizer(BaseRecognizer):
    """A bundle that was exported with its encoder; streams share it, from any threads.

    A stream is ready when there is a whole decoding window, or the end of the input, to decode.

    Args:
        bundle: the folder, or one that is open already.
        backend: "onnx", "executorch" or "torchscript".
        search: name; see `deploy_bias.runtime.search`. "alsd" takes whole utterances alone.
        precision: "fp32", "int8" or "int4".
        providers: execution providers of ONNX Runtime, the first one preferred; else the CPU.
        check: compare the graphs with eager on the stored cases first; "fallback" takes another
            provider, precision or backend of the bundle where they are wrong, and logs it.
        graphs: to take in the place of what would be loaded, by name.
        endpoint_rules: where `is_endpoint` sees an end.
        lead_in: seconds of silence before the first sample; see `LEAD_IN`. With 0 the result is
            ESPnet's.
        hotwords: that lead the search, if it has a beam: phrases with their boosts, or lines as in
            a file; see `deploy_bias.runtime.phrases`.
        lm_weight: of the bundle's language model, which leads a search with a beam; 0 is none.
        search_options: of the search, such as beam_size.

    Attributes:
        sample_rate: of the model, Hz. Other rates are resampled, by soxr.
        window_seconds: of a decoding window, which is decoded at once.

    Raises:
        BundleError: the bundle is damaged, or has no frontend and encoder that stream.
        BackendError: the backend is unknown, not installed or not in the bundle.
        OptionError: the search or an option is unknown or out of range.
        MismatchError: the graphs were checked, and are wrong here.
    """

    ENCODER_SETTINGS = EncoderSettings
    GRAPHS = ("frontend", "encoder")
    WAY_OUT = (
        "so no speech can be recognised in a stream; export an experiment whose config.yaml has "
        "the frontend and the encoder, without --offline."
    )

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
        endpoint_rules: EndpointRules | None = None,
        lead_in: float = LEAD_IN,
        hotwords: Phrases = (),
        lm_weight: float = 0.0,
        **search_options: float,
    ) -> None:
        super().__init__(
            bundle,
            backend,
            search,
            precision=precision,
            providers=providers,
            check=check,
            graphs=graphs,
            lead_in=lead_in,
            hotwords=hotwords,
            lm_weight=lm_weight,
            **search_options,
        )
        if SEARCHES[search].whole:
            raise OptionError(
                f"search {search!r} takes whole utterances; take another one for streams, or a "
                "bundle that was exported with --offline."
            )
        self.endpoint_rules = endpoint_rules or EndpointRules()

    def _take(self, graphs: Mapping[str, Graph]) -> None:
        super()._take(graphs)
        self.encoder = Encoder(self.encoder_graph)
        settings = self.frontend_settings
        self.chunking = settings.chunking
        self.window_seconds = settings.decoding_window / settings.fs

    def create_stream(self, hotwords: Phrases | None = None) -> RecognizerStream:
        """Open a stream; see `BaseRecognizer.create_stream`."""
        return RecognizerStream(self, hotwords)

    def is_endpoint(self, stream: RecognizerStream) -> bool:
        """Say whether the utterance has ended, by the endpoint rules.

        Raises:
            ContractError: the stream is closed or of another recogniser.
        """
        self._check(stream)
        (best,) = stream.search.results(1)
        behind = stream.frames - 1 - best.frames[-1] if best.frames else stream.frames
        return self.endpoint_rules.is_endpoint(
            stream.frames * self.frame_seconds, behind * self.frame_seconds
        )

    def reset(self, stream: RecognizerStream) -> None:
        """Begin a new utterance in the audio that goes on.

        The search starts anew; the encoder goes on, so no frame is lost between the two.

        Raises:
            ContractError: the stream is closed or of another recogniser, or another thread decodes
                it.
        """
        self._check(stream)
        with stream.decoding():
            stream.begin_utterance()


class RecognizerStream(BaseStream):
    """A stream that is decoded window by window; see `BaseStream`.

    Memory grows with what was recognised since the last reset only, and with audio that was not
    decoded yet.
    """

    def __init__(self, recognizer: Recognizer, hotwords: Phrases | None) -> None:
        chunking = recognizer.chunking
        frames = recognizer.frontend.contract.outputs[0].shape[1]
        assert isinstance(frames, int)
        super().__init__(
            recognizer,
            SampleStream(
                recognizer.sample_rate, chunking.decoding_window, recognizer.lead_in_samples
            ),
            hotwords,
        )
        self._features = FeatureStream(self._frontend, chunking, frames)
        self._encoder = recognizer.encoder.stream()
        self._feature_frames = 0
        self._last_time = 0.0

    @property
    def is_ready(self) -> bool:
        """Whether there is a whole decoding window, or the end of the input."""
        return bool(self.samples.windows)

    def begin_utterance(self) -> None:
        """Forget the utterance so far; see `Recognizer.reset`."""
        with self.view:
            self.search.reset()
            self.start_time = self._last_time
            self.frames = 0
            self.times = {}

    def steps(self) -> Steps:
        """Decode a window."""
        samples, is_final = self.samples.windows.popleft()
        chunks = self._features.accept(samples)
        (chunk,) = [self._features.finish()] if is_final else chunks
        encoder_out = self._encoder.accept(chunk)
        first = max(0, self._feature_frames - self._features.chunking.carried)
        self._feature_frames = first + chunk.frames
        # The first embedded frame of a chunk is dropped.
        times = [self.time(first, frame) for frame in range(1, len(encoder_out) + 1)]
        yield from self.advance(encoder_out, times)
        self._last_time = times[-1] if times else self._last_time
        self.is_final = is_final

    def _free(self) -> None:
        super()._free()
        self._encoder.close()

    def _frontend(self, samples: np.ndarray) -> np.ndarray:
        return self.recognizer.frontend.run([samples])[0]
