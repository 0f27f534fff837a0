"""From samples at any rate to decoding windows at the model's. No torch here."""

import math
from collections import deque
from typing import Any

import numpy as np

from deploy_bias.errors import BackendError, ContractError
from deploy_bias.runtime.checks import check_signal

LOUDEST = 32.0
"""Samples beyond this are no clipped audio but another scale: 16-bit numbers, most often."""


SAMPLE_RATES = (1000, 768_000)
"""The lowest and the highest that is resampled, Hz: below is no speech, above no recorder."""


class SampleStream:
    """Resamples, and cuts into windows; the pieces that samples come in do not matter.

    One thread may give samples while another takes windows.

    Args:
        fs: of the model, samples a second.
        window: samples of a decoding window.
        lead_in: samples of silence before the first one.
        most: samples that there may be in all, the lead-in among them; None is any number.

    Attributes:
        windows: those that are complete and not taken yet, oldest first: samples float32 at `fs`,
            and whether it is the last one, which is shorter, and may be empty.
    """

    def __init__(self, fs: int, window: int, lead_in: int, most: int | None = None) -> None:
        self.windows: deque[tuple[np.ndarray, bool]] = deque()
        self._fs = fs
        self._left = math.inf if most is None else most - lead_in
        self._window = np.zeros(window, np.float32)
        self._filled = 0
        self._rate: float | None = None
        self._resampler: Any = None
        self._finished = False
        self._cut(np.zeros(lead_in, np.float32))

    def accept(self, sample_rate: float, samples: np.ndarray) -> None:
        """Take the next samples.

        Args:
            sample_rate: samples a second, the same for the whole stream.
            samples: (any number,) float32 in [-1, 1).

        Raises:
            ContractError: the samples are no float32 array with one axis or hold NaN, infinity or
                more than LOUDEST, the rate is outside SAMPLE_RATES or another than before, there
                are more than `most` in all, or the input was finished. Nothing is changed then.
            BackendError: soxr, which resamples, is not installed.
        """
        if self._finished:
            raise ContractError("the input of the stream is finished; create another stream.")
        check_samples(samples)
        check_rate(sample_rate)
        if self._rate not in (None, sample_rate):
            raise ContractError(
                f"sample_rate must stay {self._rate} in this stream, got {sample_rate}; create "
                "another stream."
            )
        left = self._left - samples.size * self._fs / sample_rate
        if left < 0:
            raise ContractError(
                f"the utterance is longer than the graphs take, by {-left / self._fs:.1f} s so "
                "far; cut it at a pause, or export without --offline and stream."
            )
        if self._rate is None:
            if sample_rate != self._fs:
                self._resampler = _resampler(sample_rate, self._fs)
            self._rate = sample_rate
        self._left = left
        self._cut(samples if self._resampler is None else self._resampler.resample_chunk(samples))

    def finish(self) -> None:
        """End the input: what is left of it is the last window.

        Raises:
            ContractError: the input was finished before.
        """
        if self._finished:
            raise ContractError("the input of the stream is finished; create another stream.")
        self._finished = True
        if self._resampler is not None:
            self._cut(self._resampler.resample_chunk(np.zeros(0, np.float32), last=True))
        self.windows.append((self._window[: self._filled].copy(), True))

    def _cut(self, samples: np.ndarray) -> None:
        while samples.size:
            taken = samples[: self._window.size - self._filled]
            self._window[self._filled : self._filled + taken.size] = taken
            self._filled += taken.size
            samples = samples[taken.size :]
            if self._filled == self._window.size:
                self.windows.append((self._window.copy(), False))
                self._filled = 0


def check_rate(rate: float) -> None:
    """Raise a ContractError unless this is one of SAMPLE_RATES, Hz."""
    number = isinstance(rate, int | float | np.integer | np.floating)
    lowest, highest = SAMPLE_RATES
    if not number or isinstance(rate, bool) or not lowest <= rate <= highest:
        raise ContractError(
            f"sample_rate must be {lowest} to {highest} (Hz), got {rate!r}; resample it before."
        )


def check_samples(samples: np.ndarray) -> None:
    """Raise a ContractError unless these are samples (any number,), float32 and audible."""
    check_signal(samples)
    good = np.abs(samples) <= LOUDEST
    if not good.all():
        first = int(good.argmin())
        raise ContractError(
            f"sample {first} of {samples.size} is {samples[first]}; expected finite samples in "
            "[-1, 1); divide 16-bit samples by 32768."
        )


def _resampler(rate: float, fs: int) -> Any:
    try:
        import soxr
    except ImportError as error:
        raise BackendError(
            f"audio at {rate} Hz must be resampled to {fs} Hz, and soxr is not installed: "
            "pip install 'deploy-bias[recognizer]'."
        ) from error
    # What it gives does not depend on the pieces that it is fed, to the last bit.
    return soxr.ResampleStream(float(rate), fs, 1, dtype="float32", quality="HQ")
