"""The decoder at run time: label by label, for any number of hypotheses. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from deploy_bias.errors import ContractError
from deploy_bias.runtime.checks import Closing
from deploy_bias.runtime.graph import Graph, check_kind
from deploy_bias.runtime.state import State, StateSpace


class Decoder:
    """The decoder of a bundle, of any kind; streams share it, from as many threads as there are.

    Args:
        graph: the graph `decoder` of `deploy_bias.runtime.load`.

    Raises:
        ContractError: it is another graph.
    """

    KIND: ClassVar[str] = "decoder"

    def __init__(self, graph: Graph) -> None:
        check_kind(graph, self.KIND, self.KIND)
        self.graph = graph
        (label,) = graph.contract.stateless_inputs
        self.label = label.name
        self.batch = label.static_shape[0]
        self.output_size = graph.contract.outputs[0].static_shape[1]
        assert label.maximum is not None
        self.vocab_size = label.maximum + 1

    def stream(self) -> DecoderStream:
        """Open a stream: the hypotheses of one utterance, in one thread."""
        return DecoderStream(self)


class DecoderStream(Closing):
    """The hypotheses of one utterance. Close it, or use it in a `with` statement.

    Memory is two windows for a hypothesis and those it was forked from, however long the
    utterance.
    """

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self._decoder = decoder
        self._space = StateSpace(decoder.graph.contract)

    def start(self) -> State:
        """Return the state before the first label; also how a hypothesis is reset.

        Raises:
            ContractError: the stream is closed.
        """
        self.check_open()
        return self._space.start()

    def step(
        self, states: Sequence[State], labels: Sequence[int]
    ) -> tuple[np.ndarray, list[State]]:
        """Feed a label to each hypothesis.

        Args:
            states: n states of this stream; the same one may be there several times.
            labels: n labels, 0 to vocab_size - 1; a transducer's first one is blank, 0.

        Returns:
            The decoder output of each, (n, D) float32, and the n states after it.

        Raises:
            ContractError: the stream is closed, a label is out of range, or a state is of another
                stream. Nothing is changed then.
        """
        self.check_open()
        self._check(states, labels)
        return self.run(states, labels)

    def run(self, states: Sequence[State], labels: Sequence[int]) -> tuple[np.ndarray, list[State]]:
        """Feed labels as `step` does, to states of any streams of the decoder, unchecked."""
        size = self._decoder.batch
        outputs, after = [], []
        for first in range(0, len(states), size):
            piece = slice(first, first + size)
            out, reached = self._run(states[piece], labels[piece])
            outputs.append(out)
            after += reached
        return outputs[0] if len(outputs) == 1 else np.concatenate(outputs), after

    def _run(
        self, states: Sequence[State], labels: Sequence[int]
    ) -> tuple[np.ndarray, list[State]]:
        decoder, count = self._decoder, len(states)
        # A graph has a static batch: the last hypothesis fills what is left of it.
        spare = decoder.batch - count
        label = np.array([*labels, *[labels[-1]] * spare], np.int64)[:, None]
        own = {decoder.label: label}
        outputs = decoder.graph.run(self._space.feed([*states, *[states[-1]] * spare], own))
        return outputs[0][:count], self._space.after(states, own, outputs)

    def _check(self, states: Sequence[State], labels: Sequence[int]) -> None:
        if not isinstance(states, Sequence) or not isinstance(labels, Sequence | np.ndarray):
            raise ContractError(
                f"expected a list of states and a list of labels, got {type(states).__name__} and "
                f"{type(labels).__name__}."
            )
        if len(states) != len(labels) or not len(states):
            raise ContractError(
                f"expected a label for each of one or more states, got {len(labels)} labels and "
                f"{len(states)} states."
            )
        size = self._decoder.vocab_size
        for label in labels:
            if isinstance(label, bool) or not isinstance(label, int | np.integer):
                raise ContractError(f"a label must be an int, got {type(label).__name__}.")
            if not 0 <= label < size:
                raise ContractError(f"label must be 0 to {size - 1}, got {label}.")
        for state in states:
            if not isinstance(state, State) or state.space is not self._space:
                raise ContractError(
                    "a state is of another stream (another bundle, backend or precision?); feed "
                    "states that this stream's start or step returned."
                )
