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

from pathlib import Path

from deploy_bias.bundle import Bundle
from deploy_bias.chunking import Chunking
from deploy_bias.contract import Precision
from deploy_bias.runtime.encoder import Encoder
from deploy_bias.runtime.endpoint import EndpointRules
from deploy_bias.runtime.recognizer_base import BaseRecognizer
from deploy_bias.runtime.recognizer_stream import RecognizerStream


class Recognizer(BaseRecognizer):
    """A bundle that was exported with its encoder; streams share it, from any threads.

    A stream is ready when there is a whole decoding window, or the end of the input, to decode.

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
        BundleError: the bundle is damaged, or has no frontend and encoder that stream.
        BackendError: the backend is unknown, not installed or not in the bundle.
        OptionError: the search or an option is unknown or out of range.
    """

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
        endpoint_rules: EndpointRules | None = None,
        lead_in: float = 0.0,
        **search_options: float,
    ) -> None:
        super().__init__(
            bundle, backend, search, precision=precision, lead_in=lead_in, **search_options
        )
        self.encoder = Encoder(self.encoder_graph)
        self.endpoint_rules = endpoint_rules or EndpointRules()
        module = self.frontend_module
        self.chunking = Chunking(
            module.n_fft, module.hop_length, module.decoding_window, module.subsampling_factor
        )
        self.window_seconds = module.decoding_window / module.fs
        self.frame_seconds = self.encoder.module.stride * module.hop_length / module.fs

    def create_stream(self) -> RecognizerStream:
        """Open a stream."""
        return RecognizerStream(self)

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
