"""The language model at run time: what a search adds to a transducer's scores. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from deploy_bias.bundle import Bundle
from deploy_bias.errors import BundleError
from deploy_bias.runtime.decoder import Decoder, DecoderStream
from deploy_bias.runtime.graph import Graph
from deploy_bias.runtime.state import State


class LanguageModel(Decoder):
    """The language model of a bundle, label by label like a `Decoder`; its output is the logits.

    Args:
        graph: the graph `lm` of `deploy_bias.runtime.load`.

    Attributes:
        first_label: what is fed first: the start of a sentence, ESPnet's last label.

    Raises:
        ContractError: it is another graph.
    """

    KIND = "lm"

    @property
    def first_label(self) -> int:
        """The start of a sentence."""
        return self.vocab_size - 1


def log_probs_after(
    stream: DecoderStream, states: Sequence[State], labels: Sequence[int]
) -> tuple[np.ndarray, list[State]]:
    """Feed a label to each hypothesis of a stream of a `LanguageModel`.

    Returns:
        The log-probabilities (n, V) float64 of the label after it, and the states after it.
    """
    logits, after = stream.run(states, labels)
    logits = logits.astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return logits, after


def lm_graph(graphs: Mapping[str, Graph], bundle: Bundle) -> Graph:
    """Return the graph of the language model.

    Raises:
        BundleError: the bundle has none.
    """
    if "lm" not in graphs:
        raise BundleError(
            f"{bundle.folder}: has no language model; export again with --lm and its experiment "
            "folder, or leave out lm_weight (--lm-weight)."
        )
    return graphs["lm"]
