"""The joint network at run time. No torch here."""

from collections.abc import Sequence

import numpy as np

from deploy_bias.bundle.contract import settings_of
from deploy_bias.bundle.settings import JointSettings
from deploy_bias.errors import ContractError
from deploy_bias.runtime.checks import check_finite, describe
from deploy_bias.runtime.graph import Graph, check_kind


class Joint:
    """The joint network of a bundle, shared by any number of streams and threads.

    Args:
        graph: the graph `joint` of `deploy_bias.runtime.load`.

    Raises:
        ContractError: it is another graph.
    """

    def __init__(self, graph: Graph) -> None:
        check_kind(graph, "joint", "joint network")
        self.graph = graph
        encoder_out, decoder_out = graph.contract.inputs
        self.batch, self.encoder_size = encoder_out.static_shape
        self.decoder_size = decoder_out.static_shape[1]
        self.blank_durations = settings_of(graph.contract, JointSettings).blank_durations
        self.vocab_size = graph.contract.outputs[0].static_shape[1]

    def check(self, encoder_out: np.ndarray) -> None:
        """Raise a ContractError unless these are encoder frames (T, E), float32 and finite."""
        good = isinstance(encoder_out, np.ndarray) and encoder_out.dtype == np.float32
        if not good or encoder_out.ndim != 2 or encoder_out.shape[1] != self.encoder_size:
            raise ContractError(
                "encoder frames must be a numpy array float32 (frames, "
                f"{self.encoder_size}), got {describe(encoder_out)}."
            )
        check_finite(encoder_out, "encoder frame", "look for them in its audio or features")

    def log_probs(
        self, frames: Sequence[np.ndarray], decoder_outs: Sequence[np.ndarray]
    ) -> np.ndarray:
        """Return the log-probabilities of the next label, blank first.

        Args:
            frames: n encoder frames (E,) float32.
            decoder_outs: n decoder outputs (D,) float32.

        Returns:
            (n, V) float64. A row depends on its own frame and output alone; it is NaN where a logit
            is NaN or infinite.
        """
        pieces = [
            self._logits(frames[first : first + self.batch], decoder_outs[first:][: self.batch])
            for first in range(0, len(frames), self.batch)
        ]
        logits = (pieces[0] if len(pieces) == 1 else np.concatenate(pieces)).astype(np.float64)
        finite = np.isfinite(logits)
        if not finite.all():
            logits[~finite.all(axis=1)] = np.nan
        logits -= logits.max(axis=1, keepdims=True)
        logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return logits

    def _logits(
        self, frames: Sequence[np.ndarray], decoder_outs: Sequence[np.ndarray]
    ) -> np.ndarray:
        # A graph has a static batch: zeros fill what is left of it.
        inputs = np.zeros((self.batch, self.encoder_size), np.float32)
        others = np.zeros((self.batch, self.decoder_size), np.float32)
        for row, (frame, out) in enumerate(zip(frames, decoder_outs, strict=True)):
            inputs[row], others[row] = frame, out
        return self.graph.run([inputs, others])[0][: len(frames)]
