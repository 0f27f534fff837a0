"""The graph `joint`: an encoder frame and a decoder output in, logits of the next label out."""

import copy
from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Tensor, nn

from deploy_bias.bundle.contract import GraphContract, ModuleSpec, TensorSpec
from deploy_bias.bundle.settings import JointSettings
from deploy_bias.export.graph import DRAWS, Call, ExportGraph, Layout, Step, Tensors
from deploy_bias.export.numerics.rounding import rounded
from deploy_bias.export.options import ExportOptions
from deploy_bias.export.sources.state_dict import build, named_weights
from deploy_bias.model.joint import JointNetwork

SEED = 21
SCALES = {"normal": 1.0, "zeros": 0.0, "large": 10.0, "tiny": 1e-20}


class JointGraph(ExportGraph):
    """The joint network for a batch of hypotheses.

    Args:
        joint: the eager module.
        contract: made by `make`.
    """

    relative_limit = 1e-5
    stored_cases = ("normal",)

    def __init__(self, joint: JointNetwork, contract: GraphContract) -> None:
        self.joint = joint.eval()
        self.contract = contract

    @classmethod
    def make(
        cls,
        spec: ModuleSpec,
        state: Mapping[str, Tensor],
        options: ExportOptions,
        where: str,
        blank_durations: tuple[int, ...] = (1,),
    ) -> Self:
        """Make the graph; see `DecoderGraph.make` and `JointSettings`."""
        joint = build(JointNetwork, spec, "joint_network_conf", state, where)

        def features(name: str, size: int) -> TensorSpec:
            return TensorSpec(name=name, dtype="float32", shape=(options.batch, size))

        contract = GraphContract(
            name="joint",
            kind="joint",
            module=spec,
            settings=JointSettings(blank_durations=blank_durations).model_dump(
                mode="json", exclude_defaults=True
            ),
            inputs=(
                features("encoder_out", joint.lin_enc.in_features),
                features("decoder_out", joint.lin_dec.in_features),
            ),
            outputs=(features("logits", joint.lin_out.out_features),),
        )
        return cls(joint, contract)

    @classmethod
    def of(cls, contract: GraphContract, weights: Mapping[str, Tensor], where: str) -> Self:
        """Make the graph of a contract; see `make`."""
        return cls(
            build(JointNetwork, contract.module, "joint_network_conf", weights, where), contract
        )

    def weights(self) -> dict[str, Tensor]:
        """Return the joint network's tensors."""
        return named_weights(self.contract.module.weights, self.joint)

    def module(self, layout: Layout) -> nn.Module:
        """Return the joint network itself."""
        return self.joint

    def example_inputs(self) -> tuple[Tensor, ...]:
        """Return zeros."""
        return tuple(torch.zeros(spec.static_shape) for spec in self.contract.inputs)

    def eager(self, dtype: torch.dtype) -> Call:
        """Return the joint network in `dtype`."""
        joint = copy.deepcopy(self.joint).to(dtype)

        def call(inputs: Tensors) -> dict[str, Tensor]:
            return {"logits": joint(inputs["encoder_out"], inputs["decoder_out"])}

        return call

    def nearby(self, numbers: Sequence[int] = range(DRAWS)) -> list[Call]:
        """Return float64 rounded at random; eager's own error may be a lucky one."""
        return rounded(self.eager(torch.float64), numbers)

    def cases(self, seed: int = 0) -> dict[str, list[Step]]:
        """Return random frames and outputs of several magnitudes, 64 of each."""
        generator = torch.Generator().manual_seed(SEED + seed)
        return {
            name: [
                Step(
                    {
                        spec.name: scale * torch.randn(spec.static_shape, generator=generator)
                        for spec in self.contract.inputs
                    }
                )
                for _ in range(64)
            ]
            for name, scale in SCALES.items()
        }
