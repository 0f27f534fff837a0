"""The input block: two-dimensional convolutions that subsample the features.

Legend of the shapes: B batch, F feature frames, M n_mels, T encoder frames, D output_size.
Source: `espnet2.asr_transducer.encoder.blocks.conv_input`.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from deploy_bias.model.encoder.options import INPUT_NAMES, check_names, flag, whole


class ConvInput(nn.Module):
    """Two strided convolutions, or VGG: twice two convolutions and a maximum.

    Made by `make_conv_input`. T is (F - offset) // stride; frames beyond the length of an
    utterance reach no frame within it.

    Args:
        input_size: M.
        conv_size: channels of the first and of the second half.
        subsampling_factor: 2, 4 or 6; VGG knows 4 and 6. With 6, ESPnet's VGG takes the maximum
            of three frames, but still every fourth: it subsamples by 4.
        vgg_like: whether it is VGG.
        output_size: D, of a linear layer at the end; None: no such layer.

    Attributes:
        stride: feature frames between two encoder frames.
        offset: feature frames that the first encoder frame needs, less the stride.
        least_frames: fewer feature frames are too short an utterance for ESPnet.
        output_size: D.

    Raises:
        ValueError: M is too small, or one that ESPnet's linear layer does not fit.
    """

    def __init__(
        self,
        input_size: int,
        conv_size: tuple[int, int],
        subsampling_factor: int,
        vgg_like: bool,
        output_size: int | None,
    ) -> None:
        super().__init__()
        first, second = conv_size
        self.vgg_like = vgg_like
        if vgg_like:
            # The frames of the first maximum.
            self.pool = subsampling_factor // 2
            self.stride, self.offset = 4, self.pool + 1
            expected = ((input_size - 1) // 2 - 1) // 2
            frequencies = (input_size - self.offset) // self.stride
            self.conv = nn.Sequential(
                nn.Conv2d(1, first, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(first, first, 3),
                nn.ReLU(),
                nn.MaxPool2d(self.pool, stride=2, ceil_mode=True),
                nn.Conv2d(first, second, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(second, second, 3),
                nn.ReLU(),
                nn.MaxPool2d(2, stride=2, ceil_mode=True),
            )
        else:
            kernel, stride = {2: (3, 1), 4: (3, 2), 6: (5, 3)}[subsampling_factor]
            self.stride, self.offset = 2 * stride, 1 + 2 * (kernel - stride)
            expected = frequencies = (input_size - self.offset) // self.stride
            self.conv = nn.Sequential(
                nn.Conv2d(1, first, 3, 2),
                nn.ReLU(),
                nn.Conv2d(first, second, kernel, stride),
                nn.ReLU(),
            )
        if frequencies < 1:
            raise ValueError(
                f"input_size must be at least {self.stride + self.offset} features for this "
                f"input_conf, got {input_size}."
            )
        if frequencies != expected:
            raise ValueError(
                f"input_size {input_size} does not fit this input_conf: ESPnet counts {expected} "
                f"frequencies after its convolutions, which leave {frequencies}."
            )
        # ESPnet counts as if VGG subsampled by 6.
        self.least_frames = 11 if subsampling_factor == 6 else self.stride + self.offset
        features = second * frequencies
        self.output = None if output_size is None else nn.Linear(features, output_size)
        self.output_size = features if output_size is None else output_size

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Embed features.

        Args:
            x: (B, F, M), finite.
            lengths: (B,) int64, how many of the F frames belong to each utterance. To the other
                frames the convolutions of VGG see zeros, as they do beyond the last frame.

        Returns:
            (B, T, D).
        """
        x = (x * _within(x.size(1), 1, 0, lengths, x).unsqueeze(-1)).unsqueeze(1)
        if self.vgg_like:
            # (stride, offset) of the frames before either maximum. After a ReLU, zeros change no
            # maximum.
            parts = ((self.conv[:4], 1, 2), (self.conv[4:9], 2, self.pool + 3))
            for part, stride, offset in parts:
                x = part(x)
                within = _within(x.size(2), stride, offset, lengths, x)
                x = x * within.unsqueeze(1).unsqueeze(3)
            x = self.conv[9](x)
        else:
            x = self.conv(x)
        x = x.transpose(1, 2).flatten(2)
        return x if self.output is None else self.output(x)


def _within(count: int, stride: int, offset: int, lengths: Tensor, like: Tensor) -> Tensor:
    """Return (B, count), 1 where a frame is one of the (length - offset) // stride, else 0."""
    needed = torch.arange(1, count + 1, device=lengths.device) * stride + offset
    return (needed <= lengths.unsqueeze(1)).to(like.dtype)


def make_conv_input(
    conf: Mapping[str, Any], first_block: Mapping[str, Any], size: int
) -> ConvInput:
    """Make the input block that `input_conf` says.

    Args:
        conf: `input_conf`.
        first_block: the first entry of `body_conf`; its hidden_size is the output's size. Before
            a conv1d there is no linear layer.
        size: M.

    Raises:
        TypeError: an option is of the wrong type.
        ValueError: an option is out of its range.
    """
    where = "input_conf"
    check_names(conf, INPUT_NAMES, where)
    vgg_like = flag(conf, "vgg_like", where, False)
    factor = conf.get("subsampling_factor")
    factor = 4 if factor is None else factor
    supported = (4, 6) if vgg_like else (2, 4, 6)
    if isinstance(factor, bool) or factor not in supported:
        raise ValueError(
            f"{where}: subsampling_factor must be one of {', '.join(map(str, supported))} with "
            f"vgg_like {vgg_like}, got {factor!r}."
        )
    if first_block["block_type"] == "conv1d":
        output_size, default = None, whole(first_block, "output_size", "body_conf[0]", 64)
    else:
        output_size = default = whole(first_block, "hidden_size", "body_conf[0]")
    conv_size = conf.get("conv_size")
    if conv_size is None:
        conv_size = (64, 128) if vgg_like else default
    sizes = list(conv_size) if isinstance(conv_size, list | tuple) else [conv_size] * 2
    if len(sizes) != 2 and (vgg_like or not sizes):
        raise ValueError(f"{where}: conv_size must be one number or two, got {conv_size!r}.")
    if not vgg_like:
        sizes = [sizes[0]] * 2
    first, second = (whole({"conv_size": entry}, "conv_size", where) for entry in sizes)
    return ConvInput(size, (first, second), factor, vgg_like, output_size)
