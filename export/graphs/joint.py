"""The graph `joint`: an encoder frame and a decoder output in, logits of the next label out."""

import copy

import torch
from torch import Tensor, nn

from deploy_bias.bundle.contract import GraphContract, JointModule, TensorSpec
from deploy_bias.export.graph import Call, ExportGraph, Layout, Step, Tensors
from deploy_bias.export.numerics.rounding import rounded
from deploy_bias.model.joint import JointNetwork

SEED = 21
SCALES = {"normal": 1.0, "zeros": 0.0, "large": 10.0, "tiny": 1e-20}


class JointGraph(ExportGraph):
    """The joint network for a batch of hypotheses.

    Args:
        joint: the eager module.
        contract: made by `joint_graph`.
    """

    relative_limit = 1e-5
    stored_cases = ("normal",)

    def __init__(self, joint: JointNetwork, contract: GraphContract) -> None:
        self.joint = joint.eval()
        self.contract = contract

    def module(self, layout: Layout) -> nn.Module:
        """Return the joint network itself."""
        return self.joint

    def example_inputs(self) -> tuple[Tensor, ...]:
        """Return zeros."""
        return tuple(torch.zeros(self._shape(spec)) for spec in self.contract.inputs)

    def eager(self, dtype: torch.dtype) -> Call:
        """Return the joint network in `dtype`."""
        joint = copy.deepcopy(self.joint).to(dtype)

        def call(inputs: Tensors) -> dict[str, Tensor]:
            return {"logits": joint(inputs["encoder_out"], inputs["decoder_out"])}

        return call

    def nearby(self) -> list[Call]:
        """Return float64 rounded at random; eager's own error may be a lucky one."""
        return rounded(self.eager(torch.float64))

    def cases(self, seed: int = 0) -> dict[str, list[Step]]:
        """Return random frames and outputs of several magnitudes, 64 of each."""
        generator = torch.Generator().manual_seed(SEED + seed)
        return {
            name: [
                Step(
                    {
                        spec.name: scale * torch.randn(self._shape(spec), generator=generator)
                        for spec in self.contract.inputs
                    }
                )
                for _ in range(64)
            ]
            for name, scale in SCALES.items()
        }

    @staticmethod
    def _shape(spec: TensorSpec) -> tuple[int, ...]:
        return tuple(size for size in spec.shape if isinstance(size, int))


def joint_graph(joint: JointNetwork, module: JointModule, batch: int) -> JointGraph:
    """Make the graph `joint`.

    Args:
        joint: the eager module.
        module: what the contract says of it.
        batch: B, hypotheses a call.
    """

    def spec(name: str, features: int) -> TensorSpec:
        return TensorSpec(name=name, dtype="float32", shape=(batch, features))

    contract = GraphContract(
        name="joint",
        kind="joint",
        module=module,
        inputs=(
            spec("encoder_out", joint.lin_enc.in_features),
            spec("decoder_out", joint.lin_dec.in_features),
        ),
        outputs=(spec("logits", joint.lin_out.out_features),),
    )
    return JointGraph(joint, contract)
