"""The joint network at run time. No torch here."""

from collections.abc import Sequence

import numpy as np

from deploy_bias.bundle.contract import JointModule
from deploy_bias.errors import ContractError
from deploy_bias.runtime.graph import Graph


class Joint:
    """The joint network of a bundle, shared by any number of streams and threads.

    Args:
        graph: the graph `joint` of `deploy_bias.runtime.load`.

    Raises:
        ContractError: it is another graph.
    """

    def __init__(self, graph: Graph) -> None:
        if not isinstance(graph.contract.module, JointModule):
            raise ContractError(
                f"graph {graph.contract.name!r} is no joint network; take graphs['joint'] of "
                "deploy_bias.runtime.load."
            )
        self.graph = graph
        (self.batch, self.encoder_size), (_, self.decoder_size) = (
            tuple(size for size in spec.shape if isinstance(size, int))
            for spec in graph.contract.inputs
        )
        self.vocab_size = int(graph.contract.module.options["output_size"])

    def check(self, encoder_out: np.ndarray) -> None:
        """Raise a ContractError unless these are encoder frames (T, E), float32 and finite."""
        good = isinstance(encoder_out, np.ndarray) and encoder_out.dtype == np.float32
        if not good or encoder_out.ndim != 2 or encoder_out.shape[1] != self.encoder_size:
            came = (
                f"{encoder_out.dtype} {encoder_out.shape}"
                if isinstance(encoder_out, np.ndarray)
                else type(encoder_out).__name__
            )
            raise ContractError(
                "encoder frames must be a numpy array float32 (frames, "
                f"{self.encoder_size}), got {came}."
            )
        finite = np.isfinite(encoder_out).all(axis=1)
        if not finite.all():
            raise ContractError(
                f"encoder frame {int(finite.argmin())} of {len(encoder_out)} holds NaN or "
                "infinity; look for them in its audio or features."
            )

    def log_probs(self, frame: np.ndarray, decoder_outs: Sequence[np.ndarray]) -> np.ndarray:
        """Return the log-probabilities of the next label, blank first.

        Args:
            frame: an encoder frame (E,) float32.
            decoder_outs: n decoder outputs (D,) float32.

        Returns:
            (n, V) float64.

        Raises:
            ContractError: a logit is NaN or infinite.
        """
        logits = np.concatenate(
            [
                self._logits(frame, decoder_outs[first : first + self.batch])
                for first in range(0, len(decoder_outs), self.batch)
            ]
        ).astype(np.float64)
        if not np.isfinite(logits).all():
            raise ContractError(
                "the joint network makes NaN or infinity of an encoder frame; its largest value is "
                f"{np.abs(frame).max():.3g}: look for what is wrong in its audio or features."
            )
        logits -= logits.max(axis=1, keepdims=True)
        logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return logits

    def _logits(self, frame: np.ndarray, decoder_outs: Sequence[np.ndarray]) -> np.ndarray:
        count = len(decoder_outs)
        # A graph has a static batch: the last output fills what is left of it.
        filled = np.stack([*decoder_outs, *[decoder_outs[-1]] * (self.batch - count)])
        frames = np.repeat(frame[None], self.batch, axis=0)
        return self.graph.run([frames, filled])[0][:count]
