"""The mel matrix is librosa's, to the last bit."""

import librosa
import numpy as np
import pytest

from deploy_bias.model.frontend.mel import mel_matrix


@pytest.mark.parametrize("htk", [False, True])
@pytest.mark.parametrize(
    ("fs", "n_fft", "n_mels", "fmin", "fmax"),
    [
        (16000, 512, 80, 0, 8000.0),
        (8000, 256, 40, 0, 4000.0),
        (22050, 1024, 80, 80, 7600),
        (44100, 2048, 128, 20, 16000),
        (16000, 255, 10, 0, 8000.0),
        (16000, 400, 1, 300, 900),  # below the knee of Slaney's scale
        (16000, 400, 5, 1000, 1001.5),  # above it, and too narrow to hold a bin
    ],
)
@pytest.mark.filterwarnings("ignore:Empty filters")
def test_equals_librosa(fs, n_fft, n_mels, fmin, fmax, htk):
    expected = librosa.filters.mel(sr=fs, n_fft=n_fft, n_mels=n_mels, fmin=fmin, fmax=fmax, htk=htk)
    matrix = mel_matrix(fs, n_fft, n_mels, fmin, fmax, htk)
    assert matrix.dtype == np.float32
    assert np.array_equal(matrix, expected.T)
