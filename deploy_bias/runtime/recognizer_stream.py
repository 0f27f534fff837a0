"""One stream of a recogniser: samples, features, encoder frames, search. No torch here."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from deploy_bias.errors import ContractError
from deploy_bias.runtime.features import FeatureStream
from deploy_bias.runtime.samples import SampleStream

if TYPE_CHECKING:
    from deploy_bias.runtime.recognizer import Recognizer


class RecognizerStream:
    """Audio on its way to text. Close it, or use it in a `with` statement.

    One thread may give it audio while another decodes. Memory grows with what was recognised since
    the last reset only, and with audio that was not decoded yet.

    Attributes:
        times: of each encoder frame of the utterance, seconds from the first sample.
        start_time: of the utterance, seconds from the first sample.
        is_final: the input is over and all of it was decoded.
    """

    def __init__(self, recognizer: Recognizer) -> None:
        self.recognizer = recognizer
        chunking = recognizer.chunking
        frames = recognizer.frontend.contract.outputs[0].shape[1]
        assert isinstance(frames, int)
        self.samples = SampleStream(
            recognizer.sample_rate, chunking.decoding_window, recognizer.lead_in_samples
        )
        self.search = recognizer.open_search()
        self.is_final = False
        self._features = FeatureStream(self._frontend, chunking, frames)
        self._encoder = recognizer.encoder.stream()
        self._closed = False
        self._feature_frames = 0
        self.start_time = 0.0
        self.times: list[float] = []

    def accept_waveform(self, sample_rate: float, samples: np.ndarray) -> None:
        """Take the next samples, as many as there are.

        Args:
            sample_rate: Hz, the same for the whole stream.
            samples: (any number,) float32 in [-1, 1), one channel.

        Raises:
            ContractError: the samples are no float32 array with one axis or hold NaN or infinity,
                the rate is no positive number or another than before, or the stream is finished or
                closed. Nothing is changed then.
            BackendError: they must be resampled, and soxr is not installed.
        """
        self.check_open()
        self.samples.accept(sample_rate, samples)

    def input_finished(self) -> None:
        """End the input; what is left of it can be decoded then.

        Raises:
            ContractError: the stream is finished or closed.
        """
        self.check_open()
        self.samples.finish()

    def begin_utterance(self) -> None:
        """Forget the utterance so far; see `Recognizer.reset`."""
        self.search.reset()
        if self.times:
            self.start_time = self.times[-1]
        self.times = []

    def decode(self) -> None:
        """Decode a window; see `Recognizer.decode_stream`."""
        samples, is_final = self.samples.windows.popleft()
        chunks = self._features.accept(samples)
        (chunk,) = [self._features.finish()] if is_final else chunks
        encoder_out = self._encoder.accept(chunk)
        self._add_times(chunk.frames, len(encoder_out))
        self.search.accept(encoder_out)
        self.is_final = is_final

    def check_open(self) -> None:
        """Raise a ContractError if the stream is closed."""
        if self._closed:
            raise ContractError("the stream is closed; create another one.")

    def close(self) -> None:
        """End the stream."""
        self._closed = True
        self.search.close()
        self._encoder.close()

    def __enter__(self) -> RecognizerStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _frontend(self, samples: np.ndarray) -> np.ndarray:
        return self.recognizer.frontend.run([samples])[0]

    def _add_times(self, feature_frames: int, encoder_frames: int) -> None:
        """Note when the encoder frames of a chunk are."""
        recognizer, module = self.recognizer, self.recognizer.encoder.module
        chunking = recognizer.chunking
        first = max(0, self._feature_frames - chunking.carried)
        self._feature_frames = first + feature_frames
        # The first embedded frame of a chunk is dropped. One sees stride + offset feature frames,
        # and each of those is centred on a multiple of hop_length.
        middle = first + (module.stride + module.offset - 1) / 2
        for frame in range(1, encoder_frames + 1):
            sample = (middle + frame * module.stride) * chunking.hop_length
            self.times.append((sample - recognizer.lead_in_samples) / recognizer.sample_rate)
