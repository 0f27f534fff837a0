"""The mel filters of librosa, which ESPnet takes: triangles of equal area, without librosa.

Two scales of pitch: Slaney's (Auditory Toolbox, 1998) is linear below 1 kHz and logarithmic
above; HTK's (the HTK book) is one logarithm.
"""

import math

import numpy as np

# Slaney: 15 mels of 200/3 Hz below 1 kHz, and 27 mels for each factor of 6.4 above.
_HZ_PER_MEL = 200 / 3
_KNEE_HZ = 1000.0
_KNEE_MEL = _KNEE_HZ / _HZ_PER_MEL
_LOG_STEP = math.log(6.4) / 27


def mel_matrix(
    fs: int, n_fft: int, n_mels: int, fmin: float, fmax: float, htk: bool = False
) -> np.ndarray:
    """Return the weight of each bin of a power spectrum in each mel band.

    Args:
        fs: samples a second.
        n_fft: samples of a frame.
        n_mels: bands.
        fmin: where the first band begins, Hz.
        fmax: where the last band ends, Hz.
        htk: HTK's scale instead of Slaney's.

    Returns:
        (n_fft // 2 + 1, n_mels) float32. A triangle too narrow to hold a bin is zeros.
    """
    bins = np.fft.rfftfreq(n_fft, 1 / fs)
    low, high = _to_mel(np.array([fmin, fmax]), htk)
    edges = _to_hz(np.linspace(low, high, n_mels + 2), htk)
    distance = edges[:, None] - bins
    width = np.diff(edges)[:, None]
    rising, falling = -distance[:-2] / width[:-1], distance[2:] / width[1:]
    # librosa rounds the triangles before it scales them, and so does this.
    triangles = np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
    matrix = triangles * (2 / (edges[2:] - edges[:-2]))[:, None]
    return np.ascontiguousarray(matrix.T, np.float32)


def _to_mel(hz: np.ndarray, htk: bool) -> np.ndarray:
    if htk:
        mel: np.ndarray = 2595 * np.log10(1 + hz / 700)
        return mel
    above = _KNEE_MEL + np.log(np.maximum(hz, _KNEE_HZ) / _KNEE_HZ) / _LOG_STEP
    return np.where(hz < _KNEE_HZ, hz / _HZ_PER_MEL, above)


def _to_hz(mel: np.ndarray, htk: bool) -> np.ndarray:
    if htk:
        hz: np.ndarray = 700 * (10 ** (mel / 2595) - 1)
        return hz
    above = _KNEE_HZ * np.exp(_LOG_STEP * (mel - _KNEE_MEL))
    return np.where(mel < _KNEE_MEL, mel * _HZ_PER_MEL, above)
