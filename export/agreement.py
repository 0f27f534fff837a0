"""Token agreement: whether a backend prefers the label that eager float32 prefers.

The same labels are fed to both, each carrying its own state, and at each step the joint network
compares its decoder output with encoder frames. What counts is the label with the largest logit.

A rollout compares each step with every frame of its utterance (4,000 comparisons at most, evenly
spread); then one rollout of 1,000 steps without a reset runs over the labels and frames of all.

Two labels whose logits eager holds nearly equal decide nothing, and are left out: in fp32 those
within rounding; and, in any other precision, on synthetic frames those within a hundredth of the
largest logit. Recorded frames are what is decoded, so there every one counts.
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
from export.run import run_case

REQUIRED: dict[Precision, float | None] = {"fp32": 1.0, "int8": 0.99, "int4": None}
"""The share that must agree. The share of int4 is told and not judged."""
ROUNDING, NEAR = 1e-5, 1e-2
LONG, MOST = 1000, 4000

Logits = Callable[[Tensor, Tensor], Tensor]
"""Frames (F, E) and a decoder output (B, D) of equal rows to logits (F, V)."""


@dataclass(frozen=True)
class Agreement:
    """How many comparisons prefer the same label.

    Attributes:
        frames: "recorded" or "synthetic".
        compared: all that were counted.
        agreed: those with the same label.
        near_ties: left out.
        finite: whether every logit is a finite number.
        required: the share that must agree, if any.
    """

    frames: str
    compared: int
    agreed: int
    near_ties: int
    finite: bool
    required: float | None

    @property
    def share(self) -> float:
        """The part that agreed."""
        return self.agreed / max(self.compared, 1)

    @property
    def passed(self) -> bool:
        """Whether enough agreed."""
        return self.finite and self.compared > 0 and self.share >= (self.required or 0.0)

    @property
    def why(self) -> str:
        """What went wrong, in a line."""
        if not self.finite:
            return "the logits hold NaN or infinity"
        return (
            f"prefers eager's label in {self.agreed:,} of {self.compared:,} comparisons on "
            f"{self.frames} frames, {self.share:.2%}; required {self.required or 0:.0%}"
        )


@dataclass(frozen=True)
class _Rollout:
    """labels (U,), frames (T, E); and what eager makes of them, (U, F): label and margin."""

    labels: Tensor
    frames: Tensor
    stride: int
    best: Tensor
    margin: Tensor

    def frames_of(self, step: int) -> Tensor:
        return self.frames[step % self.stride :: self.stride][: self.best.shape[1]]


class AgreementProof:
    """What eager prefers, worked out once for all backends.

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
        self.rollouts = [self._eager(*part) for part in (*parts, (long, frames))]

    def judge(self, decoder: Call, joint: Call, precision: Precision) -> dict[str, Agreement]:
        """Compare a backend's decoder with eager's joint network, and its decoder with its own.

        Returns:
            The agreement by graph: of "decoder" alone, and of "joint" on top of it.
        """
        outputs = [self._outputs(decoder, rollout.labels) for rollout in self.rollouts]
        return {
            "decoder": self._compare(self._eager_logits, outputs, precision),
            "joint": self._compare(partial(_in_batches, joint), outputs, precision),
        }

    def _eager(self, labels: Tensor, frames: Tensor) -> _Rollout:
        stride = max(1, -(-len(labels) * len(frames) // MOST))
        count = len(frames) // stride
        outputs = self._outputs(self.decoder.eager(torch.float32), labels)
        best, margin = [], []
        for step, out in enumerate(outputs):
            logits = self._eager_logits(frames[step % stride :: stride][:count], out)
            (first, second), (label, _) = (t.unbind(-1) for t in logits.topk(2))
            best.append(label)
            margin.append((first - second) / logits.abs().amax(-1))
        return _Rollout(labels, frames, stride, torch.stack(best), torch.stack(margin))

    def _eager_logits(self, frames: Tensor, out: Tensor) -> Tensor:
        inputs = {"encoder_out": frames, "decoder_out": out[:1]}
        return self.joint(inputs)["logits"]

    def _outputs(self, call: Call, labels: Tensor) -> Tensor:
        """Return decoder outputs (U, B, D), the same labels fed to each hypothesis."""
        batch = self.decoder.contract.inputs[0].shape[0]
        assert isinstance(batch, int)
        steps = [Step({"label": label.expand(batch, 1).clone()}) for label in labels]
        return run_case(self.decoder.contract, call, steps, torch.float32)["decoder_out"]

    def _compare(self, joint: Logits, outputs: Sequence[Tensor], precision: Precision) -> Agreement:
        tie = ROUNDING if precision == "fp32" else NEAR if self.kind == SYNTHETIC else 0.0
        counted = agreed = left_out = 0
        finite = True
        for rollout, found in zip(self.rollouts, outputs, strict=True):
            for step, out in enumerate(found):
                logits = joint(rollout.frames_of(step), out)
                finite = finite and bool(logits.isfinite().all())
                counts = rollout.margin[step] >= tie
                same = logits.argmax(-1) == rollout.best[step]
                counted += int(counts.sum())
                left_out += int((~counts).sum())
                agreed += int((same & counts).sum())
        return Agreement(self.kind, counted, agreed, left_out, finite, REQUIRED[precision])


_KINDS = (f"{RECORDED}/", f"{SYNTHETIC}/")
_LEAVES = ("label", "encoder_out")


def _in_batches(joint: Call, frames: Tensor, out: Tensor) -> Tensor:
    """Run a graph of a static batch B on any number of frames."""
    batch = len(out)
    filled = torch.cat([frames, frames[:1].expand(-len(frames) % batch, -1)])
    found = [
        joint({"encoder_out": rows.clone(), "decoder_out": out})["logits"]
        for rows in filled.split(batch)
    ]
    return torch.cat(found)[: len(frames)]
