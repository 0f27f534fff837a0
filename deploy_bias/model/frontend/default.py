"""ESPnet's default frontend for whole utterances.

Legend of the shapes: B batch, S samples, T frames, M n_mels.
Source: `espnet2.asr.frontend.default`, whose options, defaults and state_dict entries these are.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from deploy_bias.model.frontend.mel import mel_matrix

LEAST_POWER = 1e-10
"""The power below which the logarithm no longer falls."""

WINDOWS = ("bartlett", "blackman", "hamming", "hann", "kaiser")


class DefaultFrontend(nn.Module):
    """The logarithm of the power in mel bands, of frames under a window.

    Args:
        fs: samples a second: 16000, or a text such as "16k".
        n_fft: the samples of a frame.
        win_length: the samples of the window, in the middle of the frame; None is n_fft.
        hop_length: the samples from one frame to the next.
        window: one of `WINDOWS`; None is rectangular.
        center: frames are centred on multiples of hop_length, and the edges of the utterance
            reflected; without it the first frame begins with the first sample.
        normalized: divide the spectrum by the root of n_fft.
        onesided: must be True: a spectrum in full does not fit the mel matrix, in ESPnet either.
        n_mels: M, the bands.
        fmin: where the first band begins, Hz; None is 0.
        fmax: where the last band ends, Hz; None is fs / 2.
        htk: HTK's scale of mels instead of Slaney's.
        frontend_conf: of the enhancement of several channels. use_wpe and use_beamformer must
            not be set; what else it says is about those two, and is ignored.
        apply_stft: must be True.

    Raises:
        ValueError: an option is out of its range or not supported.
    """

    def __init__(
        self,
        fs: int | str = 16000,
        n_fft: int = 512,
        win_length: int | None = None,
        hop_length: int = 128,
        window: str | None = "hann",
        center: bool = True,
        normalized: bool = False,
        onesided: bool = True,
        n_mels: int = 80,
        fmin: int | None = None,
        fmax: int | None = None,
        htk: bool = False,
        frontend_conf: Mapping[str, Any] | None = None,
        apply_stft: bool = True,
    ) -> None:
        super().__init__()
        for name in ("use_wpe", "use_beamformer"):
            if (frontend_conf or {}).get(name):
                raise ValueError(
                    f"frontend_conf.{name} is not supported: one channel without enhancement is; "
                    "leave it out."
                )
        if not apply_stft:
            raise ValueError("apply_stft must be true: the frontend takes samples, not spectra.")
        if not onesided:
            raise ValueError("onesided must be true: the mel matrix has n_fft // 2 + 1 bins.")
        if window is not None and window not in WINDOWS:
            raise ValueError(f"window must be one of {', '.join(WINDOWS)} or null, got {window!r}.")
        win_length = n_fft if win_length is None else win_length
        for name, value, most in (
            ("n_fft", n_fft, None),
            ("win_length", win_length, n_fft),
            ("hop_length", hop_length, n_fft),
            ("n_mels", n_mels, None),
        ):
            if value < 1 or (most is not None and value > most):
                limits = "at least 1" if most is None else f"1 to n_fft ({most})"
                raise ValueError(f"{name} must be {limits}, got {value}.")
        self.fs = _samples_a_second(fs)
        self.n_fft = n_fft
        self.win_length = win_length
        self.hop_length = hop_length
        self.window_name = window
        self.center = center
        self.normalized = normalized
        self.n_mels = n_mels
        low, high = 0 if fmin is None else fmin, self.fs / 2 if fmax is None else fmax
        if not 0 <= low < high:
            raise ValueError(f"fmin must be at least 0 and less than fmax, got {low} and {high}.")
        self.logmel = _LogMel(mel_matrix(self.fs, n_fft, n_mels, low, high, htk))

    def output_size(self) -> int:
        """Return M."""
        return self.n_mels

    def window(self, dtype: torch.dtype, device: torch.device | None = None) -> Tensor:
        """Return the window (win_length,)."""
        if self.window_name is None:
            return torch.ones(self.win_length, dtype=dtype, device=device)
        make = getattr(torch, f"{self.window_name}_window")
        window: Tensor = make(self.win_length, dtype=dtype, device=device)
        return window

    def forward(self, samples: Tensor) -> Tensor:
        """Compute the features of utterances of one length.

        ESPnet takes lengths too, and reflects the right edge of the longest utterance only: its
        features of the others depend on the batch that they are in.

        Args:
            samples: (B, S) float in [-1, 1), one channel.

        Returns:
            (B, T, M), not normalised: T = S // hop_length + 1 when centred and n_fft is even.

        Raises:
            ValueError: `samples` has not two axes, or S is too short for one frame.
        """
        least = self.n_fft // 2 + 1 if self.center else self.n_fft
        if samples.dim() != 2 or samples.size(1) < least:
            raise ValueError(
                f"samples must be (batch, samples), at least {least} samples, "
                f"got {tuple(samples.shape)}."
            )
        spectrum = torch.stft(
            samples,
            n_fft=self.n_fft,
            hop_length=self.hop_length,
            win_length=self.win_length,
            window=self.window(samples.dtype, samples.device),
            center=self.center,
            normalized=self.normalized,
            return_complex=True,
        ).transpose(1, 2)
        features: Tensor = self.logmel(spectrum.real**2 + spectrum.imag**2)
        return features


class _LogMel(nn.Module):
    melmat: Tensor

    def __init__(self, melmat: Any) -> None:
        super().__init__()
        self.register_buffer("melmat", torch.from_numpy(melmat))

    def forward(self, power: Tensor) -> Tensor:
        return (power @ self.melmat).clamp(min=LEAST_POWER).log()


def get_frontend(frontend: str = "default", **options: Any) -> DefaultFrontend:
    """Make a frontend from its ESPnet name and options.

    Raises:
        TypeError: an option is of the wrong type.
        ValueError: the name or an option is unknown, out of its range or not supported.
    """
    if frontend != "default":
        raise ValueError(f"frontend must be 'default', got {frontend!r}.")
    supported = list(DefaultFrontend.__init__.__annotations__)[:-1]  # the last is the return
    unknown = [name for name in options if name not in supported]
    if unknown:
        raise ValueError(
            f"frontend option {unknown[0]!r} is unknown, supported: {', '.join(supported)}."
        )
    return DefaultFrontend(**options)


def _samples_a_second(fs: int | str) -> int:
    if isinstance(fs, str):
        number = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(k|khz)?", fs.strip().lower())
        if number is None:
            raise ValueError(f"fs must be a number of samples a second or as '16k', got {fs!r}.")
        fs = int(float(number[1]) * (1000 if number[2] else 1))
    if fs < 1:
        raise ValueError(f"fs must be at least 1, got {fs}.")
    return fs
