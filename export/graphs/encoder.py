"""The graph `encoder`: a chunk of features in, encoder frames out, with the windows explicit."""

import copy
from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Tensor, nn

from deploy_bias.bundle.contract import (
    Append,
    Count,
    GraphContract,
    ModuleSpec,
    Rows,
    TensorSpec,
    settings_of,
)
from deploy_bias.bundle.settings import EncoderSettings
from deploy_bias.errors import SourceError
from deploy_bias.export.graph import DRAWS, Call, ExportGraph, Layout, Step, Tensors
from deploy_bias.export.numerics.rounding import rounded
from deploy_bias.export.sources.state_dict import fill, named_weights
from deploy_bias.export.steps.encoder import EncoderStep
from deploy_bias.model.encoder import Encoder
from deploy_bias.model.encoder import build_encoder as encoder_of

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
        contract: made by `make`.
    """

    # Deep encoders amplify rounding, as deep decoders do.
    relative_limit = 1e-3
    stored_cases = ("three chunks",)

    def __init__(self, encoder: Encoder, contract: GraphContract) -> None:
        self.encoder = encoder.eval()
        self.contract = contract
        self.settings = settings_of(contract, EncoderSettings)
        self.feature_frames = contract.inputs[0].static_shape[1]
        self.step = EncoderStep(encoder, self.feature_frames, self.settings.left_context)

    @classmethod
    def make(
        cls,
        spec: ModuleSpec,
        state: Mapping[str, Tensor],
        feature_frames: int,
        left_context: int,
        where: str,
    ) -> Self:
        """Make the graph.

        Args:
            spec: see `build_encoder`.
            state: the whole model.
            feature_frames: F, the most feature frames of a chunk.
            left_context: L, encoder frames before a chunk.
            where: the files, for errors.

        Raises:
            SourceError: see `build_encoder`.
            ValueError: the encoder cannot stream, or not in such chunks.
        """
        encoder = build_encoder(spec, state, where)
        step = EncoderStep(encoder, feature_frames, left_context)
        settings = encoder_settings(encoder, left_context)
        # The first and the last frame of a chunk are dropped.
        rows = Rows(
            input="frames", offset=settings.offset + 2 * settings.stride, stride=settings.stride
        )

        def new(name: str, channels: int) -> TensorSpec:
            shape = (1, step.frames, channels)
            return TensorSpec(name=name, dtype="float32", shape=shape, rows=rows)

        def window(name: str, length: int, channels: int) -> TensorSpec:
            return TensorSpec(name=name, dtype="float32", shape=(1, length, channels))

        windows = [(*_names(one.name), one.rows, one.channels) for one in step.window_shapes]
        features = (1, feature_frames, step.input_size)
        contract = GraphContract(
            name="encoder",
            kind="encoder",
            module=spec,
            settings=settings.model_dump(),
            inputs=(
                TensorSpec(name="features", dtype="float32", shape=features),
                TensorSpec(name="frames", dtype="int64", shape=(1,), maximum=feature_frames),
                TensorSpec(name="valid", dtype="int64", shape=(1,)),
                *(window(name, length, channels) for name, _, length, channels in windows),
            ),
            outputs=(
                new("encoder_out", step.output_size),
                *(new(name, channels) for _, name, _, channels in windows),
            ),
            state=(
                Count(input="valid", output="encoder_out", limit=left_context),
                *(Append(input=name, output=output) for name, output, _, _ in windows),
            ),
        )
        return cls(encoder, contract)

    @classmethod
    def of(cls, contract: GraphContract, weights: Mapping[str, Tensor], where: str) -> Self:
        """Make the graph of a contract; see `make`."""
        return cls(build_encoder(contract.module, weights, where), contract)

    def weights(self) -> dict[str, Tensor]:
        """Return the encoder's tensors."""
        return named_weights(self.contract.module.weights, self.encoder)

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
        step = EncoderStep(encoder, self.feature_frames, self.settings.left_context)
        names = [spec.name for spec in self.contract.inputs]

        def call(inputs: Tensors) -> dict[str, Tensor]:
            features, frames, valid, *windows = (inputs[name] for name in names)
            encoder_out, rows = step(features, frames, valid, windows)
            outputs = [spec.name for spec in self.contract.outputs]
            return dict(zip(outputs, (encoder_out, *rows), strict=True))

        return call

    def nearby(self, numbers: Sequence[int] = range(DRAWS)) -> list[Call]:
        """Return float64 rounded at random; eager's own error may be a lucky one."""
        return rounded(self.eager(torch.float64), numbers)

    def cases(self, seed: int = 0) -> dict[str, list[Step]]:
        """Return utterances of whole and short chunks, past the left context, and a reset."""
        generator = torch.Generator().manual_seed(SEED + seed)
        most = self.feature_frames
        least = self.settings.offset + 3 * self.settings.stride
        long = self.settings.left_context // self.step.frames + 3

        def chunk(frames: int, scale: float = 1.0) -> Step:
            features = scale * torch.randn(1, most, self.step.input_size, generator=generator)
            features[:, frames:] = RUBBISH
            return Step({"features": features, "frames": torch.tensor([frames])})

        usual = max(least, most - self.settings.stride)
        utterance = [chunk(usual) for _ in range(long)]
        again = Step(utterance[0].inputs, "reset")
        return {
            "three chunks": [chunk(usual), chunk(most), chunk(least)],
            "past the left context": [*utterance, chunk(most)],
            "reset and replay": [*utterance[:2], again, utterance[1]],
            "silence": [chunk(usual, 0.0) for _ in range(3)],
            "loud": [chunk(usual, 10.0) for _ in range(3)],
        }


def build_encoder(spec: ModuleSpec, state: Mapping[str, Tensor], where: str) -> Encoder:
    """Build an encoder and load its weights strictly.

    Args:
        spec: with the options of encoder_conf and input_size.
        state: the whole model.
        where: the files, for errors.

    Raises:
        SourceError: an option is not supported, or the weights do not fit.
    """
    conf = {name: value for name, value in spec.options.items() if name != "input_size"}
    try:
        encoder = encoder_of({"encoder_conf": conf, "input_size": spec.options["input_size"]})
    except (TypeError, ValueError) as error:
        raise SourceError(f"{where}: encoder_conf: {error}") from error
    return fill(encoder, spec.weights, state, "encoder_conf", where)


def encoder_settings(encoder: Encoder, left_context: int) -> EncoderSettings:
    """Return what a host must know of an encoder."""
    return EncoderSettings(stride=encoder.stride, offset=encoder.offset, left_context=left_context)


def _names(name: str) -> tuple[str, str]:
    """Return the names of a window and of its new rows; `block_0.key` is the step's own."""
    block, kind = name.removeprefix("block_").split(".")
    return f"{kind}_window_{block}", f"new_{kind}_{block}"
