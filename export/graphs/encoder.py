"""The graph `encoder`: a chunk of features in, encoder frames out, with the windows explicit."""

import copy

import torch
from torch import Tensor, nn

from deploy_bias.bundle.contract import EncoderModule, GraphContract, State, TensorSpec
from deploy_bias.export.graph import Call, ExportGraph, Layout, Step, Tensors
from deploy_bias.export.numerics.rounding import rounded
from deploy_bias.export.steps.encoder import EncoderStep
from deploy_bias.model.encoder import Encoder

SEED = 24
RUBBISH = 100.0
"""What stands behind the genuine frames of a chunk in the cases; it must not be seen."""


class FlatEncoderStep(nn.Module):
    """`EncoderStep` with its windows side by side: files have inputs, not lists."""

    def __init__(self, step: EncoderStep) -> None:
        super().__init__()
        self.step = step

    def forward(
        self, features: Tensor, frames: Tensor, valid: Tensor, *windows: Tensor
    ) -> tuple[Tensor, ...]:
        """`EncoderStep.forward`; the encoder frames, then the new rows of each window."""
        encoder_out, rows = self.step(features, frames, valid, list(windows))
        return (encoder_out, *rows)


class EncoderGraph(ExportGraph):
    """One chunk of an encoder.

    Args:
        encoder: the eager module.
        contract: made by `encoder_graph`.
    """

    # Deep encoders amplify rounding, as deep decoders do.
    relative_limit = 1e-3
    stored_cases = ("three chunks",)

    def __init__(self, encoder: Encoder, contract: GraphContract) -> None:
        assert isinstance(contract.module, EncoderModule)
        self.encoder = encoder.eval()
        self.contract = contract
        self.made = contract.module
        self.step = EncoderStep(encoder, self.made.feature_frames, self.made.left_context)

    def module(self, layout: Layout) -> nn.Module:
        """Return the step; its positions are constants, so there is nothing to lay out."""
        return FlatEncoderStep(self.step).eval()

    def example_inputs(self) -> tuple[Tensor, ...]:
        """Return a whole chunk of zeros."""
        features, frames, valid, windows = self.step.example_inputs()
        return (features, frames, valid, *windows)

    def eager(self, dtype: torch.dtype) -> Call:
        """Return the step, with its constants made in `dtype`."""
        encoder = copy.deepcopy(self.encoder).to(dtype)
        step = EncoderStep(encoder, self.made.feature_frames, self.made.left_context)
        names = [spec.name for spec in self.contract.inputs]

        def call(inputs: Tensors) -> dict[str, Tensor]:
            features, frames, valid, *windows = (inputs[name] for name in names)
            encoder_out, rows = step(features, frames, valid, windows)
            outputs = [spec.name for spec in self.contract.outputs]
            return dict(zip(outputs, (encoder_out, *rows), strict=True))

        return call

    def nearby(self) -> list[Call]:
        """Return float64 rounded at random; eager's own error may be a lucky one."""
        return rounded(self.eager(torch.float64))

    def cases(self, seed: int = 0) -> dict[str, list[Step]]:
        """Return utterances of whole and short chunks, past the left context, and a reset."""
        generator = torch.Generator().manual_seed(SEED + seed)
        most = self.made.feature_frames
        least = self.made.offset + 3 * self.made.stride
        long = self.made.left_context // self.step.frames + 3

        def chunk(frames: int, scale: float = 1.0) -> Step:
            features = scale * torch.randn(1, most, self.step.input_size, generator=generator)
            features[:, frames:] = RUBBISH
            return Step({"features": features, "frames": torch.tensor([frames])})

        usual = max(least, most - self.made.stride)
        utterance = [chunk(usual) for _ in range(long)]
        again = Step(utterance[0].inputs, "reset")
        return {
            "three chunks": [chunk(usual), chunk(most), chunk(least)],
            "past the left context": [*utterance, chunk(most)],
            "reset and replay": [*utterance[:2], again, utterance[1]],
            "silence": [chunk(usual, 0.0) for _ in range(3)],
            "loud": [chunk(usual, 10.0) for _ in range(3)],
        }


def encoder_graph(encoder: Encoder, module: EncoderModule) -> EncoderGraph:
    """Make the graph `encoder`.

    Args:
        encoder: the eager module.
        module: what the contract says of it.
    """
    step = EncoderStep(encoder, module.feature_frames, module.left_context)

    def spec(name: str, *shape: int) -> TensorSpec:
        return TensorSpec(name=name, dtype="float32", shape=shape)

    windows = [(*_names(shape.name), shape.rows, shape.channels) for shape in step.window_shapes]
    contract = GraphContract(
        name="encoder",
        kind="encoder",
        module=module,
        inputs=(
            spec("features", 1, module.feature_frames, step.input_size),
            TensorSpec(name="frames", dtype="int64", shape=(1,)),
            TensorSpec(name="valid", dtype="int64", shape=(1,)),
            *(spec(name, 1, rows, channels) for name, _, rows, channels in windows),
        ),
        outputs=(
            spec("encoder_out", 1, step.frames, step.output_size),
            *(spec(new, 1, step.frames, channels) for _, new, _, channels in windows),
        ),
        state=(
            State(input="valid", update="count"),
            *(State(input=name, update="extend", output=new) for name, new, _, _ in windows),
        ),
    )
    return EncoderGraph(encoder, contract)


def encoder_module(
    encoder: Encoder, weights: str, options: dict[str, object], frames: int, left_context: int
) -> EncoderModule:
    """Return what the contract says of an encoder.

    Args:
        encoder: the eager module.
        weights: the prefix of its parameters.
        options: what it was made with.
        frames: the most feature frames of a chunk.
        left_context: encoder frames before a chunk.
    """
    return EncoderModule(
        type="Encoder",
        weights=weights,
        options=options,
        feature_frames=frames,
        left_context=left_context,
        stride=encoder.stride,
        offset=encoder.offset,
    )


def _names(name: str) -> tuple[str, str]:
    """Return the names of a window and of its new rows; `block_0.key` is the step's own."""
    block, kind = name.removeprefix("block_").split(".")
    return f"{kind}_window_{block}", f"new_{kind}_{block}"
