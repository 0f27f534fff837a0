"""The decoder at run time: label by label, for any number of hypotheses. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from deploy_bias.bundle.contract import DecoderModule, TensorSpec
from deploy_bias.bundle.window import next_valid
from deploy_bias.errors import ContractError
from deploy_bias.runtime.graph import Graph
from deploy_bias.runtime.windows import Arrays, Windows


class Decoder:
    """The decoder of a bundle; streams share it, from as many threads as there are.

    Args:
        graph: the graph `decoder` of `deploy_bias.runtime.load`.

    Raises:
        ContractError: it is another graph.
    """

    def __init__(self, graph: Graph) -> None:
        if not isinstance(graph, Graph):
            raise ContractError(
                f"expected a graph, got {type(graph).__name__}; take graphs['decoder'] of "
                "deploy_bias.runtime.load."
            )
        module = graph.contract.module
        if not isinstance(module, DecoderModule):
            raise ContractError(
                f"graph {graph.contract.name!r} is no decoder; take graphs['decoder'] of "
                "deploy_bias.runtime.load."
            )
        self.graph = graph
        shapes = {spec.name: _static(spec) for spec in graph.contract.inputs}
        self.batch = shapes["label"][0]
        self.output_size = next(_static(spec)[1] for spec in graph.contract.outputs)
        self.vocab_size = int(module.options["vocab_size"])
        self.module = module
        # The contract has the state in the order of the inputs: valid, ema_state, windows.
        count, ema_state, *windows = graph.contract.state
        self.first_valid = count.initial
        self.ema_shape = (shapes[ema_state.input][0], 1, *shapes[ema_state.input][2:])
        self.window_shapes = [(shapes[s.input][1], shapes[s.input][2]) for s in windows]
        names = [spec.name for spec in graph.contract.outputs]
        self.rows = [(names.index(state.output or ""), state.row or 0) for state in windows]

    def stream(self) -> Stream:
        """Open a stream: the hypotheses of one utterance, in one thread."""
        return Stream(self)


@dataclass(frozen=True, eq=False, slots=True)
class State:
    """What a hypothesis has behind it. A value: feeding a label gives another one.

    So to fork a hypothesis, feed its state more than once; to drop it, let go of its state.
    """

    stream: Stream
    valid: int
    ema_state: np.ndarray
    windows: Windows


def _static(spec: TensorSpec) -> tuple[int, ...]:
    return tuple(size for size in spec.shape if isinstance(size, int))


class Stream:
    """The hypotheses of one utterance. Close it, or use it in a `with` statement.

    Memory is two windows for a hypothesis and those it was forked from, however long the
    utterance.
    """

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._closed = False
        self._pool: list[Arrays] = []
        # Hypotheses of a batch lie apart; a graph wants them side by side.
        self._side_by_side = [
            np.zeros((decoder.batch, *shape), np.float32)
            for shape in (decoder.window_shapes if decoder.batch > 1 else ())
        ]

    def start(self) -> State:
        """Return the state before the first label; also how a hypothesis is reset.

        Raises:
            ContractError: the stream is closed.
        """
        self.check_open()
        decoder = self._decoder
        return State(
            self,
            decoder.first_valid,
            np.zeros(decoder.ema_shape, np.float32),
            Windows(decoder.window_shapes, self._pool),
        )

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
        size = self._decoder.batch
        outputs, after = [], []
        for first in range(0, len(states), size):
            piece = slice(first, first + size)
            found, reached = self._run(states[piece], labels[piece])
            outputs.append(found)
            after += reached
        return np.concatenate(outputs), after

    def check_open(self) -> None:
        """Raise a ContractError if the stream is closed."""
        if self._closed:
            raise ContractError("the stream is closed; open another one.")

    def close(self) -> None:
        """End the stream: none of its states can be fed any more."""
        self._closed = True
        self._side_by_side = []
        self._pool.clear()

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _run(
        self, states: Sequence[State], labels: Sequence[int]
    ) -> tuple[np.ndarray, list[State]]:
        decoder, count = self._decoder, len(states)
        # A graph has a static batch: the last hypothesis fills what is left of it.
        spare = decoder.batch - count
        filled = [*states, *[states[-1]] * spare]
        label = np.array([*labels, *[labels[-1]] * spare], np.int64)[:, None]
        valid = np.array([state.valid for state in filled], np.int64)
        if decoder.batch == 1:
            ema_state = states[0].ema_state
            windows = [view[None] for view in states[0].windows.views()]
        else:
            ema_state = np.concatenate([state.ema_state for state in filled], axis=1)
            for row, state in enumerate(filled):
                for target, view in zip(self._side_by_side, state.windows.views(), strict=True):
                    target[row] = view
            windows = self._side_by_side
        outputs = decoder.graph.run([label, valid, ema_state, *windows])
        after = [self._after(state, outputs, row) for row, state in enumerate(states)]
        return outputs[0][:count], after

    def _after(self, state: State, outputs: Sequence[np.ndarray], row: int) -> State:
        decoder, module = self._decoder, self._decoder.module
        chunk_size = int(module.options.get("chunk_size", -1))
        new = [outputs[output][block, row] for output, block in decoder.rows]
        return State(
            self,
            next_valid(state.valid, module.context, chunk_size, module.start),
            outputs[1][:, row : row + 1],
            state.windows.append(new),
        )

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
            if not isinstance(state, State) or state.stream is not self:
                raise ContractError(
                    "a state is of another stream (another bundle, backend or precision?); feed "
                    "states that this stream's start or step returned."
                )
