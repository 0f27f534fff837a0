"""One stream of a recogniser: samples, features, encoder frames, search. No torch here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from deploy_bias.errors import ContractError
from deploy_bias.runtime.features import FeatureStream
from deploy_bias.runtime.samples import SampleStream

if TYPE_CHECKING:
    from deploy_bias.runtime.recognizer import Recognizer
    from deploy_bias.runtime.recognizer_base import BaseRecognizer


class BaseStream(ABC):
    """Audio on its way to text. Close it, or use it in a `with` statement.

    One thread may give it audio while another decodes.

    Args:
        recognizer: that decodes it.
        samples: what comes in.

    Attributes:
        times: of each encoder frame of the utterance, seconds from the first sample.
        start_time: of the utterance, seconds from the first sample.
        is_final: the input is over and all of it was decoded.
    """

    def __init__(self, recognizer: BaseRecognizer, samples: SampleStream) -> None:
        self.recognizer = recognizer
        self.samples = samples
        self.search = recognizer.open_search()
        self.is_final = False
        self.start_time = 0.0
        self.times: list[float] = []
        self._closed = False

    def accept_waveform(self, sample_rate: float, samples: np.ndarray) -> None:
        """Take the next samples, as many as there are.

        Args:
            sample_rate: Hz, the same for the whole stream.
            samples: (any number,) float32 in [-1, 1), one channel.

        Raises:
            ContractError: the samples are no float32 array with one axis or hold NaN or infinity,
                the rate is no positive number or another than before, or the stream is finished,
                closed or longer than its graphs take. Nothing is changed then.
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

    @property
    @abstractmethod
    def is_ready(self) -> bool:
        """Whether there is something to decode."""

    @abstractmethod
    def decode(self) -> None:
        """Decode what is ready; see `BaseRecognizer.decode_stream`."""

    def check_open(self) -> None:
        """Raise a ContractError if the stream is closed."""
        if self._closed:
            raise ContractError("the stream is closed; create another one.")

    def close(self) -> None:
        """End the stream."""
        self._closed = True
        self.search.close()

    def __enter__(self) -> BaseStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _add_times(self, first: int, encoder_frames: Iterable[int]) -> None:
        """Note when encoder frames are, by their numbers behind feature frame `first`."""
        made, module = self.recognizer.frontend_module, self.recognizer.encoder_module
        # One sees stride + offset feature frames, each centred on a multiple of hop_length.
        middle = first + (module.stride + module.offset - 1) / 2
        for frame in encoder_frames:
            sample = (middle + frame * module.stride) * made.hop_length
            self.times.append((sample - self.recognizer.lead_in_samples) / made.fs)


class RecognizerStream(BaseStream):
    """A stream that is decoded window by window; see `BaseStream`.

    Memory grows with what was recognised since the last reset only, and with audio that was not
    decoded yet.
    """

    def __init__(self, recognizer: Recognizer) -> None:
        chunking = recognizer.chunking
        frames = recognizer.frontend.contract.outputs[0].shape[1]
        assert isinstance(frames, int)
        super().__init__(
            recognizer,
            SampleStream(
                recognizer.sample_rate, chunking.decoding_window, recognizer.lead_in_samples
            ),
        )
        self._features = FeatureStream(self._frontend, chunking, frames)
        self._encoder = recognizer.encoder.stream()
        self._feature_frames = 0

    @property
    def is_ready(self) -> bool:
        """Whether there is a whole decoding window, or the end of the input."""
        return bool(self.samples.windows)

    def begin_utterance(self) -> None:
        """Forget the utterance so far; see `Recognizer.reset`."""
        self.search.reset()
        if self.times:
            self.start_time = self.times[-1]
        self.times = []

    def decode(self) -> None:
        """Decode a window."""
        samples, is_final = self.samples.windows.popleft()
        chunks = self._features.accept(samples)
        (chunk,) = [self._features.finish()] if is_final else chunks
        encoder_out = self._encoder.accept(chunk)
        first = max(0, self._feature_frames - self._features.chunking.carried)
        self._feature_frames = first + chunk.frames
        # The first embedded frame of a chunk is dropped.
        self._add_times(first, range(1, len(encoder_out) + 1))
        self.search.accept(encoder_out)
        self.is_final = is_final

    def close(self) -> None:
        """End the stream."""
        super().close()
        self._encoder.close()

    def __enter__(self) -> RecognizerStream:
        return self

    def _frontend(self, samples: np.ndarray) -> np.ndarray:
        return self.recognizer.frontend.run([samples])[0]
