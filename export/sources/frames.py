"""Encoder frames that an experiment recorded, or random ones."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from deploy_bias.errors import SourceError

FOLDER = "encoder_out"


RECORDED, SYNTHETIC = "recorded", "synthetic"


MOST_FILES, MOST_FRAMES = 8, 1000


NORM = "encoder.encoders.norm_blocks"
"""ESPnet's name of the encoder's last normalisation."""


SEED = 23


def read_frames(folder: Path, state: Mapping[str, Tensor], size: int) -> dict[str, Tensor]:
    """Return encoder frames by KIND/NAME, each (T, size) float32.

    Args:
        folder: of the experiment; the first 8 files of its encoder_out and 1,000 frames of each
            are taken.
        state: the whole model, for the scale of synthetic frames.
        size: E, the features of a frame.

    Raises:
        SourceError: a file holds no frames of that size.
    """
    paths = sorted((folder / FOLDER).glob("*.npy"))[:MOST_FILES]
    if paths:
        return {f"{RECORDED}/{path.stem}": _read(path, size) for path in paths}
    frames = torch.randn(200, size, generator=torch.Generator().manual_seed(SEED))
    for leaf, change in (("weight", torch.mul), ("bias", torch.add)):
        tensor = state.get(f"{NORM}.{leaf}")
        if tensor is not None and tensor.shape == (size,):
            frames = change(frames, tensor.float())
    return {f"{SYNTHETIC}/normal": frames}


def _read(path: Path, size: int) -> Tensor:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise SourceError(f"{path}: not a .npy file of encoder frames ({error}).") from error
    if array.ndim != 2 or array.shape[1] != size or not len(array) or array.dtype.kind != "f":
        raise SourceError(
            f"{path}: expected the encoder's output for one utterance, floating-point (T, {size}), "
            f"got {array.dtype} {array.shape}. Move it out of {FOLDER}, or record it again."
        )
    if not np.isfinite(array).all():
        raise SourceError(f"{path}: expected finite values; it holds others.")
    return torch.from_numpy(array[:MOST_FRAMES].astype(np.float32))
