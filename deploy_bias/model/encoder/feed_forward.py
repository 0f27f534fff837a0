"""The feed-forward half of an encoder block.

Source: `espnet.nets.pytorch_backend.transformer.positionwise_feed_forward`.
"""

from torch import Tensor, nn


class PositionwiseFeedForward(nn.Module):
    """A linear layer, an activation, a linear layer.

    Args:
        size: features of input and output.
        hidden_size: features between the two layers.
        activation: an elementwise module.
    """

    def __init__(self, size: int, hidden_size: int, activation: nn.Module) -> None:
        super().__init__()
        self.w_1 = nn.Linear(size, hidden_size)
        self.w_2 = nn.Linear(hidden_size, size)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """(..., size) to (..., size)."""
        out: Tensor = self.w_2(self.activation(self.w_1(x)))
        return out
