"""How streaming cuts an utterance into chunks of feature frames: plain numbers, no torch here.

After each decoding window the encoder gets the frames that the samples so far complete, behind
2 * subsampling_factor + 3 frames that it had before. At the end of the utterance silence fills
one more window, which begins with the n_fft - hop_length samples kept from before and those past
the last whole hop; all frames that are left follow, the right edge reflected. An utterance that
ends within its first window has the frames that this window completes.

Source: `espnet2.asr_transducer.frontend.online_audio_processor`, whose chunks these are when
n_fft is an even multiple of hop_length. For other settings it loses a frame at each border,
repeats one, or gives frames that reflect a border within the utterance; this never does.
"""

import math
from dataclasses import dataclass

from deploy_bias.errors import OptionError


@dataclass(frozen=True)
class Chunking:
    """The sizes of chunks. Frame t is the n_fft samples around sample t * hop_length.

    Args:
        n_fft: samples of a frame.
        hop_length: samples from a frame to the next, 1 to n_fft.
        decoding_window: samples of a decoding window; see `samples_of`.
        subsampling_factor: of the encoder.

    Raises:
        OptionError: a number is out of its range, or the decoding window does not complete more
            frames than are carried over.
    """

    n_fft: int
    hop_length: int
    decoding_window: int
    subsampling_factor: int

    def __post_init__(self) -> None:
        if not 1 <= self.hop_length <= self.n_fft:
            raise OptionError(
                f"hop_length must be 1 to n_fft ({self.n_fft}), got {self.hop_length}."
            )
        if self.subsampling_factor < 1:
            raise OptionError(
                f"subsampling_factor must be at least 1, got {self.subsampling_factor}."
            )
        least = self.carried * self.hop_length + self.n_fft - self.edge
        if self.decoding_window < least:
            raise OptionError(
                f"decoding_window must be at least {least} samples, to complete more frames than "
                f"the {self.carried} carried over, got {self.decoding_window}."
            )

    @staticmethod
    def samples_of(milliseconds: float, fs: int) -> int:
        """Return the samples of a decoding window. ESPnet's own counts as if fs were 16000."""
        return round(milliseconds * fs / 1000)

    @property
    def edge(self) -> int:
        """The samples that are reflected at either edge of an utterance."""
        return self.n_fft // 2

    @property
    def carried(self) -> int:
        """The frames at the start of a chunk that end the chunk before it."""
        return 2 * self.subsampling_factor + 3

    @property
    def equals_espnet(self) -> bool:
        """Whether ESPnet's streaming has these chunks; if not, it has wrong frames."""
        return self.n_fft % (2 * self.hop_length) == 0

    def complete(self, samples: int) -> int:
        """Return how many frames so many samples complete, when more may follow."""
        return max(0, (samples + self.edge - self.n_fft) // self.hop_length + 1)

    def silence(self, samples: int) -> int:
        """Return how many zeros follow an utterance of so many samples."""
        whole = samples - samples % self.decoding_window
        hops = max(0, whole - self.n_fft + self.hop_length) // self.hop_length
        return max(0, hops * self.hop_length + self.decoding_window - samples)

    def total(self, samples: int) -> int:
        """Return how many frames an utterance of so many samples has, its silence included."""
        if samples < self.decoding_window:
            return self.complete(self.decoding_window)
        padded = samples + self.silence(samples)
        return (padded + 2 * self.edge - self.n_fft) // self.hop_length + 1

    @property
    def first_frames(self) -> int:
        """The frames of the first chunk."""
        return self.complete(self.decoding_window)

    @property
    def regular_frames(self) -> int:
        """The most frames of a chunk between the first and the last."""
        new = (
            self.complete(end + self.decoding_window) - self.complete(end) for end in self._ends()
        )
        return self.carried + max(new)

    @property
    def last_frames(self) -> int:
        """The most frames of the last chunk."""
        new = (
            self.total(end + self.decoding_window - 1) - self.complete(end) for end in self._ends()
        )
        return self.carried + max(new)

    @property
    def max_frames(self) -> int:
        """The most frames of any chunk."""
        return max(self.first_frames, self.regular_frames, self.last_frames)

    def _ends(self) -> range:
        """The ends of windows: after these they fall again on the same places between frames."""
        windows = self.hop_length // math.gcd(self.hop_length, self.decoding_window)
        return range(
            self.decoding_window, (windows + 1) * self.decoding_window, self.decoding_window
        )
