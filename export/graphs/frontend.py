"""The graph `frontend`: samples in, normalised features out, for a fixed number of frames."""

import copy

import torch
from torch import Tensor, nn

from deploy_bias.bundle.chunking import Chunking
from deploy_bias.bundle.contract import FrontendModule, GraphContract, TensorSpec
from deploy_bias.export.graph import Call, ExportGraph, Layout, Step, Tensors
from deploy_bias.export.steps.frontend import FrontendStep
from deploy_bias.model.frontend import DefaultFrontend, GlobalMVN

SEED = 23


class FrontendGraph(ExportGraph):
    """The features of as many frames as a chunk can have new.

    Args:
        frontend: the eager module.
        normalize: what follows it.
        contract: made by `frontend_graph`.
    """

    # A logarithm amplifies rounding where a band is far weaker than its neighbours.
    relative_limit = 1e-3
    stored_cases = ("noise",)

    def __init__(
        self, frontend: DefaultFrontend, normalize: GlobalMVN | None, contract: GraphContract
    ) -> None:
        self.contract = contract
        frames = contract.outputs[0].shape[1]
        assert isinstance(frames, int)
        self.step = FrontendStep(frontend, normalize, frames)
        # Made in float64, not converted: its cosines and sines are rounded once.
        exact = copy.deepcopy(frontend).double()
        self.exact = FrontendStep(exact, copy.deepcopy(normalize), frames).double()

    def module(self, layout: Layout) -> nn.Module:
        """Return the frontend's step itself."""
        return self.step

    def example_inputs(self) -> tuple[Tensor, ...]:
        """Return silence."""
        return self.step.example_inputs()

    def eager(self, dtype: torch.dtype) -> Call:
        """Return the frontend's step in `dtype`."""
        step = self.exact if dtype == torch.float64 else self.step

        def call(inputs: Tensors) -> dict[str, Tensor]:
            return {"features": step(inputs["samples"])}

        return call

    def cases(self, seed: int = 0) -> dict[str, list[Step]]:
        """Return noise of several levels, silence, a click, an offset, and clipped samples."""
        generator = torch.Generator().manual_seed(SEED + seed)
        noise = torch.randn(1, self.step.samples, generator=generator)
        click = torch.zeros_like(noise)
        click[:, self.step.samples // 2] = 1.0
        samples = {
            "noise": 0.1 * noise,
            "a whisper": 1e-4 * noise,
            "silence": torch.zeros_like(noise),
            "a click": click,
            "an offset": 0.01 * noise + 0.5,
            "clipped": noise.clamp(-1, 1),
        }
        return {name: [Step({"samples": tensor})] for name, tensor in samples.items()}


def frontend_graph(
    frontend: DefaultFrontend, normalize: GlobalMVN | None, module: FrontendModule
) -> FrontendGraph:
    """Make the graph `frontend`.

    Args:
        frontend: the eager module.
        normalize: what follows it.
        module: what the contract says of them.
    """
    chunking = chunking_of(module)
    # One call is enough for each chunk: what is carried over is not computed again.
    frames = max(
        chunking.first_frames,
        chunking.regular_frames - chunking.carried,
        chunking.last_frames - chunking.carried,
    )
    samples = (frames - 1) * module.hop_length + module.n_fft
    contract = GraphContract(
        name="frontend",
        kind="frontend",
        module=module,
        inputs=(TensorSpec(name="samples", dtype="float32", shape=(1, samples)),),
        outputs=(
            TensorSpec(name="features", dtype="float32", shape=(1, frames, frontend.output_size())),
        ),
    )
    return FrontendGraph(frontend, normalize, contract)


def chunking_of(module: FrontendModule) -> Chunking:
    """Return how streaming cuts the samples of a model."""
    return Chunking(
        module.n_fft, module.hop_length, module.decoding_window, module.subsampling_factor
    )
