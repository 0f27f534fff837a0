"""The feed-forward half of a MEGA decoder block.

Source: `espnet2.asr_transducer.decoder.modules.mega.feed_forward`.
"""

from torch import Tensor, nn


class NormalizedPositionwiseFeedForward(nn.Module):
    """Two linear layers with a residual, normalised afterwards.

    Args:
        size: D, the features in and out.
        hidden_size: the features between the layers.
        normalization: a module, (..., D) to (..., D); LayerNorm(size) unless given.
        activation: an elementwise module, ReLU unless given.
        dropout_rate: of the hidden features and of the output, in training.
    """

    def __init__(
        self,
        size: int,
        hidden_size: int,
        normalization: nn.Module | None = None,
        activation: nn.Module | None = None,
        dropout_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.linear1 = nn.Linear(size, hidden_size)
        self.linear2 = nn.Linear(hidden_size, size)
        self.normalization = nn.LayerNorm(size) if normalization is None else normalization
        self.activation = nn.ReLU() if activation is None else activation
        self.dropout = nn.Dropout(dropout_rate)
        self.hidden_dropout = nn.Dropout(dropout_rate)
        self.reset_parameters()

    def reset_parameters(self, val: float = 0.0, std: float = 0.02) -> None:
        """Draw the weights from normal(val, std), and set the biases to val."""
        for linear in (self.linear1, self.linear2):
            nn.init.normal_(linear.weight, val, std)
            nn.init.constant_(linear.bias, val)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        hidden = self.hidden_dropout(self.activation(self.linear1(x)))
        out: Tensor = self.normalization(self.dropout(self.linear2(hidden)) + x)
        return out
