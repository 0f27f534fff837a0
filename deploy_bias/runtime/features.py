"""From PCM samples to the chunks of features that the streaming encoder takes. No torch here.

stream = FeatureStream(frontend, Chunking(256, 64, Chunking.samples_of(640, 8000), 4), frames=80)
for piece in microphone:
    for chunk in stream.accept(piece):
        ...
last = stream.finish()

Samples are float32 in [-1, 1): 16-bit samples are divided by 32768.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from deploy_bias.bundle.chunking import Chunking
from deploy_bias.runtime.checks import check_signal

Frontend = Callable[[np.ndarray], np.ndarray]
"""The frontend graph: samples (1, S) float32 to features (1, F, n_mels) float32, where
S = (F - 1) * hop_length + n_fft."""


@dataclass(frozen=True)
class FeatureChunk:
    """What the encoder takes at once.

    features: (1, max_frames, n_mels) float32; the first `frames` are genuine, zeros follow.
    frames: how many; all but those of the first chunk begin with the last of the chunk before.
    is_final: the utterance is over.
    """

    features: np.ndarray
    frames: int
    is_final: bool


class FeatureStream:
    """Cuts one utterance after another into chunks. The pieces that samples come in do not matter.

    Args:
        frontend: the graph.
        chunking: the sizes of the chunks.
        frames: F, the frames that the graph computes at once; a chunk with more new frames takes
            several calls.
    """

    def __init__(self, frontend: Frontend, chunking: Chunking, frames: int) -> None:
        self._frontend = frontend
        self.chunking = chunking
        self.frames = frames
        self._max_frames = chunking.max_frames
        self._window = np.zeros(chunking.decoding_window, np.float32)
        self.reset()

    def reset(self) -> None:
        """Forget the utterance so far."""
        self._samples = 0
        self._frames = 0
        # From the first sample of the next frame to the end of the last window.
        self._kept = np.zeros(0, np.float32)
        self._carried: np.ndarray | None = None

    def accept(self, samples: np.ndarray) -> list[FeatureChunk]:
        """Take the next samples, and return the chunks that they complete.

        Args:
            samples: (any number,) float32 in [-1, 1).

        Raises:
            ContractError: `samples` is no float32 array with one axis.
        """
        check_signal(samples)
        chunks = []
        while samples.size:
            filled = self._samples % self._window.size
            taken = samples[: self._window.size - filled]
            self._window[filled : filled + taken.size] = taken
            self._samples += taken.size
            samples = samples[taken.size :]
            if self._samples % self._window.size == 0:
                chunks.append(self._chunk(self._window, is_final=False))
        return chunks

    def finish(self) -> FeatureChunk:
        """End the utterance: return its last chunk, and be ready for the next utterance."""
        rest = self._window[: self._samples % self._window.size]
        silence = np.zeros(self.chunking.silence(self._samples), np.float32)
        chunk = self._chunk(np.concatenate([rest, silence]), is_final=True)
        self.reset()
        return chunk

    def _chunk(self, samples: np.ndarray, is_final: bool) -> FeatureChunk:
        edge, total = self.chunking.edge, self.chunking.complete(self._samples)
        signal = np.concatenate([self._kept, samples])
        if self._carried is None:
            signal = np.pad(signal, (edge, 0), mode="reflect")
        if is_final:
            signal = np.pad(signal, (0, edge), mode="reflect")
            total = self.chunking.total(self._samples)
        new = total - self._frames
        features = _extract(self._frontend, signal, new, self.chunking, self.frames)
        if self._carried is not None:
            features = np.concatenate([self._carried, features])
        self._frames = total
        self._kept = signal[new * self.chunking.hop_length :]
        self._carried = features[-self.chunking.carried :]
        padded = np.zeros((1, self._max_frames, features.shape[1]), np.float32)
        padded[0, : len(features)] = features
        return FeatureChunk(padded, len(features), is_final)


def _extract(
    frontend: Frontend, signal: np.ndarray, count: int, chunking: Chunking, frames: int
) -> np.ndarray:
    """Return the features (count, n_mels) of the first frames of a signal, edges included."""
    size = (frames - 1) * chunking.hop_length + chunking.n_fft
    parts = []
    for frame in range(0, count, frames):
        samples = np.zeros((1, size), np.float32)
        taken = signal[frame * chunking.hop_length :][:size]
        samples[0, : taken.size] = taken
        parts.append(frontend(samples)[0])
    return np.concatenate(parts)[:count]
