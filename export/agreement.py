"""Token agreement: whether a backend prefers the label that eager float32 prefers.

The same labels are fed to both, each carrying its own state, and at each step the joint network
compares its decoder output with encoder frames. What counts is the label with the largest logit.

A rollout compares each step with every frame of its utterance (4,000 comparisons at most, evenly
spread); then one rollout of 1,000 steps without a reset runs over the labels and frames of all.

Not counted are
- comparisons where both prefer blank: nine of ten with a trained model, and so easy that a
  decoder with a shuffled weight matrix still agreed in 99.1 % of all;
- near ties, which decide nothing: two labels whose logits eager holds equal but for rounding in
  fp32; and on synthetic frames, in any other precision, but for the distance that is allowed to
  int8, 5 % of the largest logit (random weights of ESPnet's recipe size: int8 flips 2 % of all
  labels, none by more than 0.8 %). Recorded frames are what is decoded: there every one counts.

The largest logit alone does not see a scale that is wrong, nor keys that no label depends on yet.
So the root mean square distance to eager, by eager's own, is measured too.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from deploy_bias.contract import Precision
from deploy_bias.errors import BundleError
from export.graphs import Call, Graph, Step
from export.rollouts import RECORDED, SYNTHETIC
from export.run import Outputs, run_case

REQUIRED: dict[Precision, float | None] = {"fp32": 1.0, "int8": 0.99, "int4": None}
"""The share that must agree; that of int4 is told and not judged."""
LIMIT: dict[Precision, float | None] = {"fp32": None, "int8": 0.05, "int4": None}
"""The distance that is allowed; that of fp32 is judged by its cases. Measured for int8: 0.8 %."""
ROUNDING, NEAR = 1e-5, 0.05
LONG, MOST, SOME = 1000, 4000, 5

Pair = tuple[Tensor, Tensor]
Logits = Callable[[Tensor, Tensor], Tensor]
"""Frames (F, E) and a decoder output (B, D) of equal rows to logits (F, V)."""


@dataclass(frozen=True)
class Agreement:
    """How many comparisons prefer the same label, and how far the outputs are from eager's.

    Attributes:
        frames: "recorded" or "synthetic".
        compared: all that were counted.
        agreed: those with the same label.
        distance: the root mean square distance by eager's root mean square, of the worst output.
        finite: whether every output is a finite number.
        required: the share that must agree, if any.
        limit: the distance that is allowed, if any.
    """

    frames: str
    compared: int
    agreed: int
    distance: float
    finite: bool
    required: float | None
    limit: float | None

    @property
    def share(self) -> float:
        """The part that agreed."""
        return self.agreed / max(self.compared, 1)

    @property
    def passed(self) -> bool:
        """Whether all is finite, enough agreed, and nothing is too far off."""
        near = self.limit is None or self.distance <= self.limit
        return self.finite and near and self.compared > 0 and self.share >= (self.required or 0.0)

    @property
    def why(self) -> str:
        """What was found, in a line."""
        if not self.finite:
            return "the outputs hold NaN or infinity"
        allowed = "" if self.limit is None else f", at most {self.limit:.0%} allowed"
        return (
            f"prefers eager's label in {self.agreed:,} of {self.compared:,} comparisons on "
            f"{self.frames} frames, {self.share:.2%}, required {self.required or 0:.0%}; outputs "
            f"{self.distance:.1%} off{allowed}"
        )


@dataclass(frozen=True)
class _Rollout:
    """labels (U,), frames (T, E), of which each step meets one in `stride`; eager's outputs."""

    labels: Tensor
    frames: Tensor
    stride: int
    eager: Outputs

    def frames_of(self, step: int) -> Tensor:
        return self.frames[step % self.stride :: self.stride]


class AgreementProof:
    """What eager computes along the rollouts, once for all backends.

    Args:
        decoder: the graph of the decoder.
        joint: the graph of the joint network.
        vectors: of the bundle.

    Raises:
        BundleError: the vectors hold no rollout.
    """

    def __init__(self, decoder: Graph, joint: Graph, vectors: Mapping[str, np.ndarray]) -> None:
        self.decoder = decoder
        self.joint = joint.eager(torch.float32)
        names = {tuple(key.split("/")[:2]) for key in vectors if key.startswith(_KINDS)}
        if not names:
            raise BundleError("no encoder frames among the test vectors; export again.")
        parts = [
            tuple(torch.from_numpy(vectors[f"{kind}/{name}/{leaf}"]) for leaf in _LEAVES)
            for kind, name in sorted(names)
        ]
        self.kind = RECORDED if any(kind == RECORDED for kind, _ in names) else SYNTHETIC
        labels, frames = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        long = labels.repeat(-(-LONG // len(labels)))[:LONG]
        eager = decoder.eager(torch.float32)
        self.rollouts = [
            _Rollout(fed, met, max(1, -(-len(fed) * len(met) // MOST)), self._run(eager, fed))
            for fed, met in (*parts, (long, frames))
        ]

    def judge(self, decoder: Call, joint: Call, precision: Precision) -> dict[str, Agreement]:
        """Compare a backend's decoder with eager's joint network, and its decoder with its own.

        Returns:
            The agreement by graph: of "decoder" alone, and of "joint" on top of it.
        """
        found = [self._run(decoder, rollout.labels) for rollout in self.rollouts]
        pairs = [
            (run[name], rollout.eager[name])
            for run, rollout in zip(found, self.rollouts, strict=True)
            for name in run
        ]
        outputs = [run["decoder_out"] for run in found]
        return {
            "decoder": self._compare(self._eager_logits, outputs, precision, pairs),
            "joint": self._compare(partial(_in_batches, joint), outputs, precision),
        }

    def _run(self, call: Call, labels: Tensor) -> Outputs:
        """Return every output of every step, the same labels fed to each hypothesis."""
        batch = self.decoder.contract.inputs[0].shape[0]
        assert isinstance(batch, int)
        steps = [Step({"label": label.expand(batch, 1).clone()}) for label in labels]
        return run_case(self.decoder.contract, call, steps, torch.float32)

    def _eager_logits(self, frames: Tensor, out: Tensor) -> Tensor:
        return self.joint({"encoder_out": frames, "decoder_out": out[:1]})["logits"]

    def judge_encoder(self, encoder: Graph, call: Call, precision: Precision) -> Agreement:
        """Compare a backend's encoder with eager's, on the labels of eager's joint network.

        Its features are random, which is no speech: its frames count as synthetic.
        """
        eager = encoder.eager(torch.float32)
        pairs, logits = [], []
        for steps in encoder.cases().values():
            got, expected = (
                run_case(encoder.contract, side, steps, torch.float32) for side in (call, eager)
            )
            pairs += [(got[name], expected[name]) for name in got]
            genuine = expected["encoder_out"].any(-1)
            frames = [side["encoder_out"][genuine] for side in (got, expected)]
            logits += [
                (self._eager_logits(frames[0], out), self._eager_logits(frames[1], out))
                for out in self.rollouts[0].eager["decoder_out"][:SOME]
            ]
        return _agreement(logits, pairs, SYNTHETIC, precision)

    def _compare(
        self,
        joint: Logits,
        outputs: Sequence[Tensor],
        precision: Precision,
        pairs: Sequence[Pair] = (),
    ) -> Agreement:
        logits = [
            (joint(frames, out), self._eager_logits(frames, eager))
            for rollout, found in zip(self.rollouts, outputs, strict=True)
            for step, (out, eager) in enumerate(
                zip(found, rollout.eager["decoder_out"], strict=True)
            )
            for frames in (rollout.frames_of(step),)
        ]
        return _agreement(logits, pairs, self.kind, precision)


def _agreement(
    logits: Sequence[Pair], pairs: Sequence[Pair], frames: str, precision: Precision
) -> Agreement:
    """Compare logits, got and eager; `pairs` of other outputs are measured for distance."""
    tie = ROUNDING if precision == "fp32" else NEAR if frames == SYNTHETIC else 0.0
    compared = agreed = 0
    for got, eager in logits:
        label, best = got.argmax(-1), eager.argmax(-1)
        first, second = eager.topk(2).values.unbind(-1)
        counts = (first - second >= tie * eager.abs().amax(-1)) & ((label > 0) | (best > 0))
        compared += int(counts.sum())
        agreed += int(((label == best) & counts).sum())
    got, eager = (torch.cat(side) for side in zip(*logits, strict=True))
    pairs = [*pairs, (got, eager)]
    return Agreement(
        frames=frames,
        compared=compared,
        agreed=agreed,
        distance=max(_distance(got, eager) for got, eager in pairs),
        finite=all(bool(got.isfinite().all()) for got, _ in pairs),
        required=REQUIRED[precision],
        limit=LIMIT[precision],
    )


_KINDS = (f"{RECORDED}/", f"{SYNTHETIC}/")
_LEAVES = ("label", "encoder_out")


def _distance(got: Tensor, eager: Tensor) -> float:
    least = torch.finfo(torch.float32).tiny
    return float((got - eager).double().norm() / eager.double().norm().clamp(min=least))


def _in_batches(joint: Call, frames: Tensor, out: Tensor) -> Tensor:
    """Run a graph of a static batch B on any number of frames."""
    batch = len(out)
    filled = torch.cat([frames, frames[:1].expand(-len(frames) % batch, -1)])
    found = [
        joint({"encoder_out": rows.clone(), "decoder_out": out})["logits"]
        for rows in filled.split(batch)
    ]
    return torch.cat(found)[: len(frames)]
