"""The one interpreter of state in Python: it carries state from step to step by a contract.

space = StateSpace(graph.contract)
states = [space.start()]
outputs = graph.run(space.feed(states, {"label": label}))
states = space.after(states, {"label": label}, outputs)

The decoder, the encoder and the rollouts of the gate run on it, so a graph with any state runs
without a line of host code.

Legend of the shapes: B the graph's batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from deploy_bias.bundle.contract import Append, Count, GraphContract, Replace, TensorSpec
from deploy_bias.errors import ContractError
from deploy_bias.runtime.windows import Arrays, Windows

Named = Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False, slots=True)
class State:
    """What a hypothesis (or a whole batch) has behind it. A value: a step gives another one.

    So to fork a hypothesis, feed its state more than once; to drop it, let go of its state.

    space: that it is of. counts, values, windows: of the rules to count, to replace and to append.
    """

    space: StateSpace
    counts: tuple[int, ...]
    values: tuple[np.ndarray, ...]
    windows: Windows | None


class StateSpace:
    """The states of one stream of a graph, and how one follows from another.

    Args:
        contract: of the graph.
        whole: a state is of the whole batch, whose hypotheses go the same way; else of one.
        floating: dtype of the floating-point state; the graph's float32, or float64 to compute a
            reference.

    Raises:
        ContractError: a rule names an input or an output that the contract does not have, or two
            windows grow by different counts.
    """

    def __init__(
        self,
        contract: GraphContract,
        whole: bool = False,
        floating: type[np.floating] = np.float32,
    ) -> None:
        self.contract = contract
        specs = {spec.name: spec for spec in contract.inputs}
        names = [spec.name for spec in contract.outputs]
        for rule in contract.state:
            if rule.input not in specs or (rule.output is not None and rule.output not in names):
                raise ContractError(
                    f"graph {contract.name!r}: the state {rule.input!r} is made of "
                    f"{rule.output!r}, and the graph has the inputs {', '.join(specs)} and the "
                    f"outputs {', '.join(names)}; export again."
                )
        self._counts = [rule for rule in contract.state if isinstance(rule, Count)]
        self._replaced = [rule for rule in contract.state if isinstance(rule, Replace)]
        self._appended = [rule for rule in contract.state if isinstance(rule, Append)]
        self._order = [spec.name for spec in contract.inputs]
        self._place = {name: index for index, name in enumerate(names)}
        self._rows = {spec.name: spec.rows for spec in contract.outputs}
        if len({self._rows[rule.output] for rule in self._appended}) > 1:
            raise ContractError(f"graph {contract.name!r}: its windows grow by different counts.")

        def shape(rule: Replace | Append | Count) -> tuple[int, ...]:
            full = specs[rule.input].static_shape
            axis = _batch_axis(rule)
            return full if whole else (*full[:axis], 1, *full[axis + 1 :])

        def dtype(rule: Replace | Append | Count) -> np.dtype:
            return _dtype(specs[rule.input], floating)

        first = contract.state[0] if contract.state else None
        self.batch = (
            1 if whole or first is None else specs[first.input].static_shape[_batch_axis(first)]
        )
        """How many states a step takes."""
        self._ones = [np.ones(shape(rule), dtype(rule)) for rule in self._counts]
        self._first_values = tuple(
            np.full(shape(rule), rule.initial, dtype(rule)) for rule in self._replaced
        )
        self._window_shapes = [shape(rule) for rule in self._appended]
        self._window_dtypes = [dtype(rule) for rule in self._appended]
        self._pool: list[Arrays] = []
        # Hypotheses of a batch lie apart; a graph wants them side by side.
        self._side_by_side = (
            [
                np.zeros((self.batch, *form[1:]), kind)
                for form, kind in zip(self._window_shapes, self._window_dtypes, strict=True)
            ]
            if self.batch > 1
            else []
        )

    def start(self) -> State:
        """Return the state before the first step."""
        counts = tuple(rule.initial for rule in self._counts)
        return State(self, counts, self._first_values, self._new_windows())

    def feed(self, states: Sequence[State], own: Named) -> list[np.ndarray]:
        """Return the inputs of a call in the order of the contract.

        Args:
            states: one for each hypothesis of the batch.
            own: the inputs that are not state, by name.
        """
        inputs = {**self.inputs(states), **own}
        return [inputs[name] for name in self._order]

    def inputs(self, states: Sequence[State]) -> dict[str, np.ndarray]:
        """Return the inputs that are state, by name; views of it, not to be written."""
        inputs: dict[str, np.ndarray] = {}
        for index, count in enumerate(self._counts):
            parts = [self._ones[index] * state.counts[index] for state in states]
            inputs[count.input] = parts[0] if len(parts) == 1 else np.concatenate(parts)
        for index, rule in enumerate(self._replaced):
            parts = [state.values[index] for state in states]
            inputs[rule.input] = (
                parts[0] if len(parts) == 1 else np.concatenate(parts, axis=rule.batch_axis)
            )
        if self._appended:
            inputs.update(
                zip((rule.input for rule in self._appended), self._gather(states), strict=True)
            )
        return inputs

    def read(self, inputs: Named) -> State:
        """Return the state of a whole batch whose inputs these are."""
        given = [inputs[rule.input] for rule in self._appended]
        windows = None
        if given:
            # Of their own shapes: a dimension may be dynamic.
            shapes = [array.shape for array in given]
            windows = Windows(shapes, self._window_dtypes, [])
            for array, view in zip(given, windows.views(), strict=True):
                view[:] = array
        counts = tuple(int(inputs[rule.input].reshape(-1)[0]) for rule in self._counts)
        return State(self, counts, tuple(inputs[rule.input] for rule in self._replaced), windows)

    def after(
        self, states: Sequence[State], own: Named, outputs: Sequence[np.ndarray]
    ) -> list[State]:
        """Return the states after a step.

        Args:
            states: those that were fed, or as many of the first of them as count.
            own: the inputs that are not state, by name.
            outputs: in the order of the contract.
        """
        rows = self._new_rows(own, outputs)
        values = [outputs[self._place[rule.output]] for rule in self._replaced]
        found = []
        for lane, state in enumerate(states):
            windows = state.windows
            if windows is not None:
                windows = windows.append(
                    rows if self.batch == 1 else [new[lane : lane + 1] for new in rows]
                )
            counts = tuple(
                self._next_count(rule, valid, own)
                for rule, valid in zip(self._counts, state.counts, strict=True)
            )
            # Of its own stream: those of several may be fed together.
            found.append(State(state.space, counts, self._lane(values, lane), windows))
        return found

    def _gather(self, states: Sequence[State]) -> Arrays:
        views = [state.windows.views() for state in states if state.windows is not None]
        if len(views) == 1:
            return views[0]
        for lane, parts in enumerate(views):
            for target, view in zip(self._side_by_side, parts, strict=True):
                target[lane] = view[0]
        return self._side_by_side

    def _next_count(self, rule: Count, valid: int, own: Named) -> int:
        valid += 1 if rule.output is None else self._grown(own, rule.output)
        return rule.initial if valid == rule.restart_at else min(valid, rule.limit)

    def _grown(self, own: Named, output: str) -> int:
        """Return how many rows an output adds to a window."""
        rows = self._rows[output]
        return 1 if rows is None else rows.count(int(own[rows.input].item()))

    def _lane(self, values: Sequence[np.ndarray], lane: int) -> tuple[np.ndarray, ...]:
        if self.batch == 1:
            return tuple(values)
        return tuple(
            value[(*(slice(None),) * rule.batch_axis, slice(lane, lane + 1))]
            for rule, value in zip(self._replaced, values, strict=True)
        )

    def _new_rows(self, own: Named, outputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the rows (B, n, ...) that each window grows by."""
        found = []
        for rule in self._appended:
            output = outputs[self._place[rule.output]]
            if rule.row is not None:
                output = output[rule.row]
            if self._rows[rule.output] is None:
                found.append(output[:, None])
            else:
                found.append(output[:, : self._grown(own, rule.output)])
        return found

    def _new_windows(self) -> Windows | None:
        if not self._appended:
            return None
        return Windows(self._window_shapes, self._window_dtypes, self._pool)


def _batch_axis(rule: Replace | Append | Count) -> int:
    return rule.batch_axis if isinstance(rule, Replace) else 0


def _dtype(spec: TensorSpec, floating: type[np.floating]) -> np.dtype:
    dtype = np.dtype(spec.dtype)
    return np.dtype(floating) if dtype.kind == "f" else dtype
