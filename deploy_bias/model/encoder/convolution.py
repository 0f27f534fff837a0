"""The convolutions along time within the encoder's blocks.

All are depthwise. A causal one sees zeros before the first frame, and no later frame; another sees
zeros on both sides.

Legend of the shapes: B batch, T frames, D size, C channels.
Source: `espnet2.asr_transducer.encoder.modules.convolution`.
"""

from torch import Tensor, nn


class ConformerConvolution(nn.Module):
    """Gated linear unit, depthwise convolution, batch normalisation, activation.

    Args:
        size: D.
        kernel_size: odd.
        activation: an elementwise module.
        eps: of the batch normalisation.
        causal: whether no later frame is seen.
    """

    def __init__(
        self, size: int, kernel_size: int, activation: nn.Module, eps: float, causal: bool
    ) -> None:
        super().__init__()
        self.causal = causal
        self.pointwise_conv1 = nn.Conv1d(size, 2 * size, 1)
        self.depthwise_conv = depthwise(size, kernel_size)
        self.norm = nn.BatchNorm1d(size, eps=eps)
        self.pointwise_conv2 = nn.Conv1d(size, size, 1)
        self.activation = activation

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        """(B, T, D) and (B, T) bool, True at padding, to (B, T, D)."""
        x = nn.functional.glu(self.pointwise_conv1(x.transpose(1, 2)), dim=1)
        x = self.norm(along_time(self.depthwise_conv, x, padding, self.causal))
        out: Tensor = self.pointwise_conv2(self.activation(x)).transpose(1, 2)
        return out


class ConvolutionalSpatialGatingUnit(nn.Module):
    """One half of the features times a convolution of the other half.

    Args:
        size: 2 C, the features of the input.
        kernel_size: odd, or any with `causal`.
        normalization: a module, (..., C) to (..., C).
        causal: whether no later frame is seen.
    """

    def __init__(self, size: int, kernel_size: int, normalization: nn.Module, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.conv = depthwise(size // 2, kernel_size)
        self.norm = normalization

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        """(B, T, 2 C) and (B, T) bool, True at padding, to (B, T, C)."""
        kept, gate = x.chunk(2, dim=-1)
        gate = along_time(self.conv, self.norm(gate).transpose(1, 2), padding, self.causal)
        return kept * gate.transpose(1, 2)


class DepthwiseConvolution(nn.Module):
    """The convolution that merges the two branches of an ebranchformer.

    Args:
        size: D of one branch; the two together are C = 2 D.
        kernel_size: odd, or any with `causal`.
        causal: whether no later frame is seen.
    """

    def __init__(self, size: int, kernel_size: int, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.conv = depthwise(2 * size, kernel_size)

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        """(B, T, 2 D) and (B, T) bool, True at padding, to (B, T, 2 D)."""
        return along_time(self.conv, x.transpose(1, 2), padding, self.causal).transpose(1, 2)


def depthwise(channels: int, kernel_size: int) -> nn.Conv1d:
    """Make a convolution that keeps the channels apart."""
    return nn.Conv1d(channels, channels, kernel_size, groups=channels)


def along_time(conv: nn.Conv1d, x: Tensor, padding: Tensor, causal: bool) -> Tensor:
    """Convolve (B, C, T) to (B, C, T), with zeros around the frames of each utterance."""
    around = conv.kernel_size[0] - 1
    before = around if causal else around // 2
    x = x.masked_fill(padding.unsqueeze(1), 0.0)
    out: Tensor = conv(nn.functional.pad(x, (before, around - before)))
    return out
