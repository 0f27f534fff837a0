"""What a bundle holds of eager, and what it allows beside that. No torch here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from deploy_bias.bundle import Bundle
from deploy_bias.bundle.contract import GraphContract, Precision
from deploy_bias.errors import BackendError, BundleError
from deploy_bias.runtime.checks import describe
from deploy_bias.runtime.graph import Graph
from deploy_bias.runtime.proof.report import ProofRow
from deploy_bias.runtime.proof.tally import Tally
from deploy_bias.runtime.state import StateSpace

EXACT = ("bias", "frontend", "offline_frontend")
"""The kinds of graphs that have nothing to quantise: held to fp32's limits in every precision."""
FRAMES = ("recorded/", "synthetic/")
"""The kinds of encoder frames that utterances are stored of."""
TINY = float(np.finfo(np.float32).tiny)


class Expected:
    """What a bundle holds of eager, and what it allows beside that.

    Raises:
        BundleError: it holds no limits or vectors, or they are corrupt.
    """

    def __init__(self, bundle: Bundle) -> None:
        limits = bundle.manifest.limits
        if limits is None:
            raise BundleError(f"{bundle.folder}: holds no limits to check against; export again.")
        self._limits = bundle.tensors(limits)
        self._vectors = bundle.tensors(bundle.manifest.vectors)
        for name, limit in self._limits.items():
            if limit.dtype.kind == "f" and not (limit >= 0).all():
                raise BundleError(
                    f"{bundle.folder / limits.path}: {name} holds NaN or numbers below 0, which "
                    "allow anything; export again."
                )
        if bundle.manifest.tokens is not None:
            bundle.read(bundle.manifest.tokens)

    def rows(
        self, graphs: Mapping[str, Graph], backend: str, precision: Precision
    ) -> Iterator[ProofRow]:
        """Yield a row for each of the loaded graphs of one backend and precision."""
        for name, graph in graphs.items():
            exact = precision == "fp32" or graph.contract.kind in EXACT
            tally = Tally()
            try:
                for case in self._cases(graph.contract):
                    self._run(graph, case, None if exact else precision, tally)
                if not tally.times:
                    raise BundleError(f"no test vectors for {name}; export again.")
                if not exact:
                    self._judge(name, precision, tally)
                if name == "joint" and "decoder" in graphs:
                    self._labels(graphs["decoder"], graph, precision, tally)
            except BackendError as error:
                tally.problem = str(error)
            except KeyError as error:
                tally.problem = f"the vectors or limits lack {error}; export again."
            except ValueError as error:
                tally.problem = f"the vectors do not fit the contract ({error}); export again."
            except Exception as error:  # each runtime has its own; the other graphs count
                tally.problem = f"failed to run: {type(error).__name__}: {_line(error)}"
            yield tally.row(name, backend, precision, "elements" if exact else "distance")

    def _cases(self, contract: GraphContract) -> list[str]:
        keys = sorted({*self._vectors, *self._limits})  # what one of them lacks is told
        cases = dict.fromkeys(key.rpartition("/")[0] for key in keys)
        return [case for case in cases if case.partition("/")[0] == contract.name]

    def _run(self, graph: Graph, case: str, precision: Precision | None, tally: Tally) -> None:
        """Run a stored case, the state carried as the contract says."""
        contract = graph.contract
        own = {
            spec.name: self._vectors[f"{case}/{spec.name}"] for spec in contract.stateless_inputs
        }
        stored = {spec.name: self._vectors[f"{case}/{spec.name}"] for spec in contract.outputs}
        limits = None
        if precision is None:
            limits = {name: self._limits[f"{case}/{name}"] for name in stored}
            for name, limit in limits.items():
                if limit.shape != stored[name].shape:
                    raise ValueError(
                        f"{case}/{name} is {stored[name].shape}, its limits {limit.shape}"
                    )
        space = StateSpace(contract, whole=True)
        state = space.start()
        for step in range(len(next(iter(stored.values())))):
            inputs = {name: np.ascontiguousarray(array[step]) for name, array in own.items()}
            outputs = tally.timed(graph, _contiguous(space.feed([state], inputs)))
            for spec, output in zip(contract.outputs, outputs, strict=True):
                expected = stored[spec.name][step]
                if describe(output) != describe(expected):
                    raise BackendError(
                        f"{case}, step {step}: the runtime gives {spec.name} as "
                        f"{describe(output)}, expected {describe(expected)}"
                    )
                genuine = slice(None)
                if spec.rows is not None:
                    genuine = slice(spec.rows.count(int(inputs[spec.rows.input].item())))
                place = (slice(None), genuine) if spec.rows is not None else ()
                got, wanted = output[place], expected[place]
                where = f"case {case.partition('/')[2]!r}, step {step}, {spec.name}"
                if limits is None:
                    tally.measure(spec.name, got, wanted, where)
                else:
                    tally.compare(got, wanted, limits[spec.name][step][place], where)
            (state,) = space.after([state], inputs, outputs)

    def _judge(self, graph: str, precision: Precision, tally: Tally) -> None:
        """Compare the distance of each output of a quantised graph with its limit."""
        for output, (off, usual) in tally.squares.items():
            limit = float(self._limits[f"{precision}/{graph}/{output}"][0])
            distance = (off / max(usual, TINY)) ** 0.5
            tally.over(
                distance / limit, f"{output}: {distance:.2%} off, at most {limit:.2%} allowed"
            )

    def _labels(self, decoder: Graph, joint: Graph, precision: Precision, tally: Tally) -> None:
        """Compare the labels that are preferred along each stored utterance with eager's."""
        required = self._limits.get(f"{precision}/preferred")
        for key in self._utterances():
            name = key.rpartition("/")[0]
            frames = self._vectors[f"{name}/encoder_out"]
            for label, out in self._rollout(decoder, self._vectors[f"{name}/label"]):
                preferred = self._limits[key][label]
                met = preferred >= 0
                got = _prefer(joint, frames[met], out)
                counts = (got > 0) | (preferred[met] > 0)
                tally.compared += int(counts.sum())
                tally.agreed += int((got == preferred[met])[counts].sum())
        if required is not None and tally.agreed < float(required[0]) * tally.compared:
            tally.problem = tally.problem or (
                f"prefers eager's label in {tally.agreed:,} of {tally.compared:,} comparisons, "
                f"required {float(required[0]):.0%}"
            )

    def _utterances(self) -> list[str]:
        """Return the names of what is preferred along each stored utterance."""
        names = {
            key.rpartition("/")[0]
            for key in {*self._vectors, *self._limits}
            if key.startswith(FRAMES)
        }
        return [f"{name}/preferred" for name in sorted(names)]

    def _rollout(self, decoder: Graph, labels: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        (spec,) = decoder.contract.stateless_inputs
        space = StateSpace(decoder.contract, whole=True)
        state = space.start()
        for step, label in enumerate(labels):
            own = {spec.name: np.full(spec.static_shape, label, np.int64)}
            outputs = decoder.run(_contiguous(space.feed([state], own)))
            (state,) = space.after([state], own, outputs)
            yield step, outputs[0]


def _contiguous(inputs: list[np.ndarray]) -> list[np.ndarray]:
    """Copy the windows of several hypotheses, which lie apart; of one they are as they must be."""
    return [np.ascontiguousarray(array) for array in inputs]


def _prefer(joint: Graph, frames: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Return the labels that the joint network prefers at each frame (T, E) after an output."""
    batch = len(out)
    filled = np.concatenate([frames, np.repeat(frames[:1], -len(frames) % batch, axis=0)])
    pieces = (filled[first : first + batch] for first in range(0, len(filled), batch))
    labels = [joint.run([np.ascontiguousarray(piece), out])[0].argmax(-1) for piece in pieces]
    return np.concatenate(labels)[: len(frames)] if labels else np.empty(0, np.int64)


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0]
