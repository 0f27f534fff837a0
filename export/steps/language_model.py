"""One step of a recurrent language model: label and state in, logits and next state out.

Legend of the shapes: B batch (hypotheses), N nlayers, H nhid, V vocab_size.
"""

import copy

import torch
from torch import Tensor, nn

from deploy_bias.export.steps.recurrent import recurrent_step, run_layers
from deploy_bias.model.language_model import SequentialRNNLM


class LanguageModelStep(nn.Module):
    """What ESPnet's `SequentialRNNLM.score` computes before its log_softmax, as a graph.

    A snapshot of the weights, in eval mode, without gradients.

    Args:
        model: what to score with.
        batch: B, 1 or more.
    """

    def __init__(self, model: SequentialRNNLM, batch: int = 1) -> None:
        super().__init__()
        self.batch, self.hidden_size = batch, model.hidden_size
        self.embed = copy.deepcopy(model.encoder)
        self.output = copy.deepcopy(model.decoder)
        self.states = 2 if model.rnn_type == "lstm" else 1
        self.layers = nn.ModuleList(recurrent_step(layer) for layer in model.layers())
        self.requires_grad_(False)
        self.eval()

    def forward(self, label: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """Feed one label to each hypothesis.

        Args:
            label: (B, 1) int64; vocab_size - 1, the start of a sentence, comes first.
            states: hidden, and of an LSTM cell, each (N, B, H); zeros at first.

        Returns:
            The logits (B, V) of the next label, and the next states.
        """
        x = self.embed(label).view(self.batch, -1)
        x, after = run_layers(self.layers, x, states)
        return self.output(x), *after

    def example_inputs(self) -> tuple[Tensor, ...]:
        """Return inputs of `forward`: label 0 with states of zeros, tensors of their own."""
        shape = (len(self.layers), self.batch, self.hidden_size)
        states = [self.embed.weight.new_zeros(shape) for _ in range(self.states)]
        return torch.zeros(self.batch, 1, dtype=torch.int64), *states
