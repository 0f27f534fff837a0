"""Token agreement: whether a backend prefers the label that eager float32 prefers.

The same labels are fed to both, each carrying its own state, and at each step the joint network
compares its decoder output with encoder frames. What counts is the label with the largest logit.

A rollout compares each step with every frame of its utterance (4,000 comparisons at most, evenly
spread); then one rollout of 1,000 steps without a reset runs over the labels and frames of all.

Not counted are
- comparisons where both prefer blank: nine of ten with a trained model, and so easy that a
  decoder with a shuffled weight matrix still agreed in 99.1 % of all;
- near ties, which decide nothing: two labels whose logits eager holds equal but for rounding in
  fp32; and on synthetic frames, in any other precision, but for 5 % of the largest logit (random
  weights of ESPnet's recipe size: int8 flips 2 % of all labels, none by more than 0.8 %). Recorded
  frames are what is decoded: there every one counts.

The largest logit alone does not see a scale that is wrong, nor keys that no label depends on yet.
So the root mean square distance to eager of every output, by eager's own, is measured too.
In int8 it may be three times that of eager itself with quantised linear layers, in int4 five
times: see `deploy_bias.export.numerics.quantization`.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from deploy_bias.bundle.contract import Precision
from deploy_bias.errors import BundleError
from deploy_bias.export.graph import Call, ExportGraph, Step
from deploy_bias.export.numerics.quantization import quantized
from deploy_bias.export.parity.results import Agreement
from deploy_bias.export.rollout import Outputs, run_case
from deploy_bias.export.sources.frames import RECORDED, SYNTHETIC

REQUIRED: dict[Precision, float | None] = {
    "fp32": 1.0,
    "int8": 0.99,
    "int4": None,
    "auto": 0.99,
}
"""The share that must agree; that of int4 is told and not judged, nor that of int8 on synthetic
frames, for no speech is decoded there."""
EXPLAINED: dict[Precision, float] = {"int8": 3.0, "int4": 5.0, "auto": 3.0}
"""How much further off than quantised eager a backend may be: `benchmarks.measure_precision` saw
1.9 and 3.0 at most, of random models too small for it, on ONNX Runtime, whose inputs are
quantised to a range that is symmetric about zero."""
LEAST = 1e-4
"""The distance that is allowed to an output before which nothing is quantised."""
ROUNDING, NEAR = 1e-5, 0.05
LONG, MOST, SOME = 1000, 4000, 5

Logits = Callable[[Tensor, Tensor], Tensor]
"""Frames (F, E) and a decoder output (B, D) of equal rows to logits (F, V)."""


class Tally:
    """What was counted and measured of a graph so far, against eager.

    Args:
        tie: by how much of the largest logit eager must prefer its label for that to count.
    """

    def __init__(self, tie: float = 0.0) -> None:
        self.tie = tie
        self.compared = self.agreed = 0
        self.finite = True
        self.squares: dict[str, Tensor] = defaultdict(lambda: torch.zeros(2, dtype=torch.float64))

    def measure(self, name: str, got: Tensor, eager: Tensor) -> None:
        """Add to the distance of an output."""
        self.finite &= bool(got.isfinite().all())
        squares = [tensor.double().square().sum() for tensor in (got - eager, eager)]
        self.squares[name] += torch.stack(squares)

    def measure_all(self, got: Outputs, eager: Outputs) -> None:
        """Add to the distance of each output."""
        for name, tensor in eager.items():
            self.measure(name, got[name], tensor)

    def compare(self, got: Tensor, eager: Tensor) -> None:
        """Count the labels that logits prefer, (F, V), and add to their distance."""
        label, best = got.argmax(-1), eager.argmax(-1)
        counts = _is_clear(eager, self.tie) & ((label > 0) | (best > 0))
        self.compared += int(counts.sum())
        self.agreed += int(((label == best) & counts).sum())
        self.measure("logits", got, eager)

    @property
    def distances(self) -> dict[str, float]:
        """The root mean square distance of each output, by eager's root mean square."""
        tiny = torch.finfo(torch.float32).tiny
        return {
            name: float(off.sqrt() / eager.sqrt().clamp(min=tiny))
            for name, (off, eager) in self.squares.items()
        }


Tallies = Mapping[str, Tally]


@dataclass(frozen=True)
class _Rollout:
    """labels (U,), frames (T, E), of which each step meets one in `stride`; eager's outputs."""

    labels: Tensor
    frames: Tensor
    stride: int
    eager: Outputs

    def frames_of(self, step: int, series: Tensor | None = None) -> Tensor:
        """Return the frames that a step meets, or what a series (T, ...) has there; a view."""
        series = self.frames if series is None else series
        return series[step % self.stride :: self.stride]


class AgreementProof:
    """What eager computes along the rollouts, once for all backends.

    Args:
        decoder: the graph of the decoder.
        joint: the graph of the joint network.
        vectors: of the bundle.

    Raises:
        BundleError: the vectors hold no rollout.
    """

    def __init__(
        self, decoder: ExportGraph, joint: ExportGraph, vectors: Mapping[str, np.ndarray]
    ) -> None:
        self.contract = decoder.contract
        self.graphs = (decoder, joint)
        self.decoder, self.joint = (graph.eager(torch.float32) for graph in self.graphs)
        names = {tuple(key.split("/")[:2]) for key in vectors if key.startswith(_KINDS)}
        if not names:
            raise BundleError("no encoder frames among the test vectors; export again.")
        self._names = [f"{kind}/{name}" for kind, name in sorted(names)]
        parts = [
            tuple(torch.from_numpy(vectors[f"{name}/{leaf}"]) for leaf in _LEAVES)
            for name in self._names
        ]
        self.kind = RECORDED if any(kind == RECORDED for kind, _ in names) else SYNTHETIC
        labels, frames = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        long = labels.repeat(-(-LONG // len(labels)))[:LONG]
        self.rollouts = [
            _Rollout(
                fed, met, max(1, -(-len(fed) * len(met) // MOST)), self._run(self.decoder, fed)
            )
            for fed, met in (*parts, (long, frames))
        ]
        self._explained: dict[tuple[str, Precision], Mapping[str, Mapping[str, float]]] = {}

    def judge(self, decoder: Call, joint: Call, precision: Precision) -> dict[str, Agreement]:
        """Compare a backend's decoder with eager's joint network, and its decoder with its own.

        Returns:
            The agreement by graph: of "decoder" alone, and of "joint" on top of it.
        """

        def tally(decoder: Call, joint: Logits) -> Tallies:
            return self._tally(decoder, joint, _tie(self.kind, precision))

        explained = self._quantized(
            "decoder",
            precision,
            lambda: tally(quantized(self.graphs[0], precision), self._joint(precision)),
        )
        found = tally(decoder, partial(_in_batches, joint))
        return {
            name: _agreement(found[name], explained[name], self.kind, precision) for name in found
        }

    def preferred(self) -> dict[str, Tensor]:
        """Return what eager prefers along the rollout of each utterance.

        They are named KIND/NAME/preferred and are int64 (U, T): after each of U labels, at each of
        T frames; -1 stands where nothing is compared, or two labels are equal but for rounding.
        """
        labels = {}
        for name, rollout in zip(self._names, self.rollouts, strict=False):  # the last is of all
            table = torch.full((len(rollout.labels), len(rollout.frames)), -1)
            for step, out in enumerate(rollout.eager["decoder_out"]):
                logits = self._eager_logits(rollout.frames_of(step), out)
                clear = _is_clear(logits, _tie(self.kind, "fp32"))
                rollout.frames_of(step, table[step])[:] = logits.argmax(-1).where(clear, -1)
            labels[f"{name}/preferred"] = table
        return labels

    def judge_encoder(self, encoder: ExportGraph, call: Call, precision: Precision) -> Agreement:
        """Compare a backend's encoder with eager's, on the labels of eager's joint network.

        Its features are random, which is no speech: its frames count as synthetic.
        """

        def compare(tally: Tally, got: Outputs, expected: Outputs) -> None:
            genuine = expected["encoder_out"].any(-1)
            frames = [side["encoder_out"][genuine] for side in (got, expected)]
            for out in self.rollouts[0].eager["decoder_out"][:SOME]:
                tally.compare(*(self._eager_logits(side, out) for side in frames))

        return self._judge_cases(encoder, call, precision, compare)

    def judge_language_model(
        self, model: ExportGraph, call: Call, precision: Precision
    ) -> Agreement:
        """Compare a backend's language model with eager's, on its own cases.

        Their labels are random, which is no text: they count as synthetic.
        """

        def compare(tally: Tally, got: Outputs, expected: Outputs) -> None:
            tally.compare(got["logits"], expected["logits"])

        return self._judge_cases(model, call, precision, compare)

    def _judge_cases(
        self,
        graph: ExportGraph,
        call: Call,
        precision: Precision,
        compare: Callable[[Tally, Outputs, Outputs], None],
    ) -> Agreement:
        """Measure every output of a graph on its own cases; `compare` counts labels besides."""
        name, eager = graph.contract.name, graph.eager(torch.float32)
        cases = [
            (steps, run_case(graph.contract, eager, steps, torch.float32))
            for steps in graph.cases().values()
        ]

        def tally(call: Call) -> Tallies:
            tally = Tally(_tie(SYNTHETIC, precision))
            for steps, expected in cases:
                got = run_case(graph.contract, call, steps, torch.float32)
                tally.measure_all(got, expected)
                compare(tally, got, expected)
            return {name: tally}

        explained = self._quantized(name, precision, lambda: tally(quantized(graph, precision)))
        return _agreement(tally(call)[name], explained[name], SYNTHETIC, precision)

    def _quantized(
        self, name: str, precision: Precision, tally: Callable[[], Tallies]
    ) -> Mapping[str, Mapping[str, float]]:
        """Return the distances of quantised eager, by graph and output, worked out once."""
        if precision == "fp32":
            return defaultdict(dict)
        key = (name, precision)
        if key not in self._explained:
            self._explained[key] = {name: found.distances for name, found in tally().items()}
        return self._explained[key]

    def _tally(self, decoder: Call, joint: Logits, tie: float) -> Tallies:
        tallies = {"decoder": Tally(tie), "joint": Tally(tie)}
        for rollout in self.rollouts:
            found = self._run(decoder, rollout.labels)
            tallies["decoder"].measure_all(found, rollout.eager)
            outputs = zip(found["decoder_out"], rollout.eager["decoder_out"], strict=True)
            for step, (out, eager) in enumerate(outputs):
                frames = rollout.frames_of(step)
                expected = self._eager_logits(frames, eager)
                tallies["decoder"].compare(self._eager_logits(frames, out), expected)
                tallies["joint"].compare(joint(frames, out), expected)
        return tallies

    def _run(self, call: Call, labels: Tensor) -> Outputs:
        """Return every output of every step, the same labels fed to each hypothesis."""
        batch = self.contract.inputs[0].shape[0]
        assert isinstance(batch, int)
        steps = [Step({"label": label.expand(batch, 1).clone()}) for label in labels]
        return run_case(self.contract, call, steps, torch.float32)

    def _eager_logits(self, frames: Tensor, out: Tensor) -> Tensor:
        return _logits(self.joint, frames, out)

    def _joint(self, precision: Precision) -> Logits:
        return partial(_logits, quantized(self.graphs[1], precision))


def limit_of(distance: float, precision: Precision) -> float:
    """Return how far a backend may be off where quantised eager is off by `distance`."""
    return max(LEAST, EXPLAINED[precision] * distance)


def required(frames: str, precision: Precision) -> float | None:
    """Return the share of the labels that must agree on frames of a kind; None if any may."""
    return REQUIRED[precision] if frames == RECORDED or precision == "fp32" else None


def _tie(frames: str, precision: Precision) -> float:
    return ROUNDING if precision == "fp32" else NEAR if frames == SYNTHETIC else 0.0


def _agreement(
    tally: Tally, explained: Mapping[str, float], frames: str, precision: Precision
) -> Agreement:
    limits = {name: limit_of(distance, precision) for name, distance in explained.items()}
    distances = tally.distances
    worst = max(distances, key=lambda name: distances[name] / limits.get(name, 1.0))
    return Agreement(
        frames=frames,
        compared=tally.compared,
        agreed=tally.agreed,
        distance=distances[worst],
        finite=tally.finite,
        required=required(frames, precision),
        limit=limits.get(worst),
        output=worst,
    )


def _is_clear(logits: Tensor, tie: float) -> Tensor:
    """Return where (F,) the largest of the logits (F, V) is so by more than `tie` of itself."""
    first, second = logits.topk(2).values.unbind(-1)
    return first - second >= tie * logits.abs().amax(-1)


_KINDS = (f"{RECORDED}/", f"{SYNTHETIC}/")
_LEAVES = ("label", "encoder_out")


def _logits(joint: Call, frames: Tensor, out: Tensor) -> Tensor:
    """Return the logits of any number of frames and one decoder output."""
    return joint({"encoder_out": frames, "decoder_out": out[:1]})["logits"]


def _in_batches(joint: Call, frames: Tensor, out: Tensor) -> Tensor:
    """Run a graph of a static batch B on any number of frames."""
    batch = len(out)
    filled = torch.cat([frames, frames[:1].expand(-len(frames) % batch, -1)])
    found = [
        joint({"encoder_out": rows.clone(), "decoder_out": out})["logits"]
        for rows in filled.split(batch)
    ]
    return torch.cat(found)[: len(frames)]
