"""What token agreement is measured on: encoder frames, and the labels that are fed along them.

Recorded frames, where the experiment has them: files encoder_out/NAME.npy beside its config.yaml,
each one utterance of (T, E), with the labels that eager decodes from them. Where it has none,
random frames with the scale and shift of the encoder's last normalisation, and random labels.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from deploy_bias.errors import SourceError
from export.graphs import Graph
from export.run import initial_state, next_state

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


def rollout_vectors(
    decoder: Graph, joint: Graph, frames: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the frames and labels of each rollout, to be kept with the test vectors.

    They are named KIND/NAME/encoder_out, (T, E) float32, and KIND/NAME/label, (U,) int64, the
    blank that every hypothesis starts with included.
    """
    found = {}
    for name, tensor in frames.items():
        recorded = name.startswith(RECORDED)
        labels = _greedy(decoder, joint, tensor) if recorded else _random(joint)
        found[f"{name}/encoder_out"] = tensor
        found[f"{name}/label"] = labels
    return found


def _greedy(decoder: Graph, joint: Graph, frames: Tensor) -> Tensor:
    """Return what eager float32 decodes, at most one label a frame."""
    step, logits = decoder.eager(torch.float32), joint.eager(torch.float32)
    batch = decoder.contract.inputs[0].shape[0]
    assert isinstance(batch, int)
    state = initial_state(decoder.contract, torch.float32)
    labels, out = [], torch.empty(0)
    for frame in (None, *frames):
        label = 0
        if frame is not None:
            inputs = {"encoder_out": frame[None], "decoder_out": out[:1]}
            label = int(logits(inputs)["logits"].argmax())
        if frame is None or label:
            labels.append(label)
            fed = {"label": torch.full((batch, 1), label)}
            outputs = step({**fed, **state})
            state = next_state(decoder.contract, state, fed, outputs)
            out = outputs["decoder_out"]
    return torch.tensor(labels)


def _random(joint: Graph) -> Tensor:
    vocab = joint.contract.outputs[0].shape[-1]
    assert isinstance(vocab, int)
    labels = torch.randint(vocab, (100,), generator=torch.Generator().manual_seed(SEED))
    labels[0] = 0
    return labels
