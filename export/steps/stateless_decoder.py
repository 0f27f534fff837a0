"""One step of a stateless decoder as a graph: label in, its embedding out.

Legend of the shapes: B batch (hypotheses), E embed_size.
"""

import copy

import torch
from torch import Tensor, nn

from deploy_bias.model.decoder.stateless_decoder import StatelessDecoder


class StatelessDecoderStep(nn.Module):
    """What ESPnet's `StatelessDecoder.score` computes, as a graph; a snapshot of the weights.

    Args:
        decoder: what to decode with.
        batch: B, 1 or more.

    Raises:
        ValueError: `batch` is less than 1.
    """

    def __init__(self, decoder: StatelessDecoder, batch: int = 1) -> None:
        super().__init__()
        if batch < 1:
            raise ValueError(f"batch must be at least 1, got {batch}.")
        self.batch = batch
        self.embed = copy.deepcopy(decoder.embed)
        self.requires_grad_(False)
        self.eval()

    def forward(self, label: Tensor) -> Tensor:
        """Feed one label to each hypothesis.

        Args:
            label: (B, 1) int64, 0 to vocab_size - 1.

        Returns:
            The decoder output (B, E).
        """
        out: Tensor = self.embed(label).view(self.batch, -1)
        return out

    def example_inputs(self) -> tuple[Tensor]:
        """Return inputs of `forward`: label 0."""
        return (torch.zeros(self.batch, 1, dtype=torch.int64, device=self.embed.weight.device),)
