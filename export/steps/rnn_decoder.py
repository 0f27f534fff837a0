"""One step of an LSTM or GRU decoder as a graph: label and state in, output and next state out.

torch's own LSTM leaves 7 delegates and 23 operators beside them on ExecuTorch. Here a layer is
linear layers and elementwise operators, and the whole step is one delegate but for the embedding.

Legend of the shapes: B batch (hypotheses), N num_layers, H hidden_size.
"""

import copy
from typing import cast

import torch
from torch import Tensor, nn

from deploy_bias.export.steps.recurrent import recurrent_step, run_layers
from deploy_bias.model.decoder.rnn_decoder import RNNDecoder


class RNNDecoderStep(nn.Module):
    """What ESPnet's `RNNDecoder.score` computes, as a graph; a snapshot of the weights.

    It is in eval mode, needs no gradient, and has the dtype and device of the decoder.

    Args:
        decoder: what to decode with.
        batch: B, 1 or more.

    Raises:
        ValueError: `batch` is less than 1.
    """

    def __init__(self, decoder: RNNDecoder, batch: int = 1) -> None:
        super().__init__()
        if batch < 1:
            raise ValueError(f"batch must be at least 1, got {batch}.")
        self.batch = batch
        self.hidden_size = decoder.output_size
        self.embed = copy.deepcopy(decoder.embed)
        # How many states a layer has: hidden and cell, or hidden alone.
        self.states = 2 if decoder.rnn_type == "lstm" else 1
        self.layers = nn.ModuleList(
            recurrent_step(cast("nn.RNNBase", layer)) for layer in decoder.rnn
        )
        self.requires_grad_(False)
        self.eval()

    def forward(self, label: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """Feed one label to each hypothesis.

        Args:
            label: (B, 1) int64, 0 to vocab_size - 1.
            states: hidden, and of an LSTM cell, each (N, B, H); zeros before the first label.

        Returns:
            The decoder output (B, H), and the next states.
        """
        x = self.embed(label).view(self.batch, -1)
        x, after = run_layers(self.layers, x, states)
        return x, *after

    def example_inputs(self) -> tuple[Tensor, ...]:
        """Return inputs of `forward`: label 0 with states of zeros."""
        weight = self.embed.weight
        label = torch.zeros(self.batch, 1, dtype=torch.int64, device=weight.device)
        # Tensors of their own: an exporter takes the same tensor twice for one input.
        shape = (len(self.layers), self.batch, self.hidden_size)
        return label, *[weight.new_zeros(shape) for _ in range(self.states)]
