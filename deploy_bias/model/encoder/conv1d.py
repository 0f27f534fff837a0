"""The conv1d block: a convolution along time that may change the size, and the frames.

Legend of the shapes: B batch, T frames, C input_size, D output_size.
Source: `espnet2.asr_transducer.encoder.blocks.conv1d`.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from deploy_bias.model.encoder.options import CONV1D_NAMES, check_names, flag, whole


class Conv1d(nn.Module):
    """A convolution with neither zeros around it nor, unless `causal`, as many frames after it.

    Args:
        conf: the block's entry of `body_conf`.
        where: how to name it in errors.
        input_size: C.
        causal: zeros before the first frame, and a stride of 1 whatever `conf` says.

    Raises:
        TypeError: an option is of the wrong type.
        ValueError: an option is missing or out of its range.
    """

    def __init__(self, conf: Mapping[str, Any], where: str, input_size: int, causal: bool) -> None:
        super().__init__()
        check_names(conf, CONV1D_NAMES, where)
        output_size = whole(conf, "output_size", where)
        kernel_size = whole(conf, "kernel_size", where)
        dilation = whole(conf, "dilation", where, 1)
        groups = whole(conf, "groups", where, 1)
        stride = whole(conf, "stride", where, 1)
        if causal and dilation > 1 and kernel_size > 1:
            raise ValueError(
                f"{where}: dilation must be 1 with dynamic_chunk_training, got {dilation}: "
                "ESPnet puts zeros before the frames, and keeps frames, as if it were 1."
            )
        if input_size % groups or output_size % groups:
            raise ValueError(
                f"{where}: groups must divide input_size = {input_size} and output_size = "
                f"{output_size}, got {groups}."
            )
        self.input_size = input_size
        self.output_size = output_size
        self.causal = causal
        self.stride = 1 if causal else stride
        # The frames that one output frame spans, less one.
        self.padding = dilation * (kernel_size - 1)
        self.conv = nn.Conv1d(
            input_size,
            output_size,
            kernel_size,
            stride=self.stride,
            dilation=dilation,
            groups=groups,
            bias=flag(conf, "bias", where, True),
        )
        self.relu = flag(conf, "relu", where, True)
        self.batch_norm = flag(conf, "batch_norm", where, False)
        if self.batch_norm:
            self.bn = nn.BatchNorm1d(output_size)
        self.out_pos = nn.Linear(input_size, output_size)

    def forward(self, x: Tensor, positions: Tensor, padding: Tensor) -> tuple[Tensor, ...]:
        """Convolve frames, and bring positions and padding to what it gives.

        Args:
            x: (B, T, C).
            positions: (1, 2 T - 1, C).
            padding: (B, T) bool, True at padding, which is after the frames.

        Returns:
            (B, T', D), (1, 2 T' - 1, D) and (B, T').
        """
        x = x.transpose(1, 2)
        if self.causal:
            x = nn.functional.pad(x, (self.padding, 0))
        else:
            padding = padding[:, self.padding :: self.stride]
            positions = self._thin(positions)
        x = self.conv(x)
        if self.batch_norm:
            x = self.bn(x)
        if self.relu:
            x = nn.functional.relu(x)
        return x.transpose(1, 2), self.out_pos(positions), padding

    def _thin(self, positions: Tensor) -> Tensor:
        """Keep as many positions as there are frames, each half thinned from its start.

        What comes out as the offset 0 was not 0 before; so it is in ESPnet, and so trained.
        """
        middle = positions.size(1) // 2
        earlier, later = positions[:, : middle + 1], positions[:, middle:]
        kept = middle + 1 - self.padding
        earlier, later = (half[:, : kept : self.stride] for half in (earlier, later))
        return torch.cat([earlier, later[:, 1:]], dim=1)
