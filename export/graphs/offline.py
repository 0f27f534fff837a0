"""The graphs `offline_frontend` and `offline_encoder`: whole utterances, of any length."""

import copy
import sys
import wave
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim

from deploy_bias.bundle.contract import (
    DynamicSize,
    GraphContract,
    ModuleSpec,
    Rows,
    TensorSpec,
    settings_of,
)
from deploy_bias.bundle.settings import FrontendSettings, OfflineEncoderSettings
from deploy_bias.export.graph import Call, ExportGraph, Layout, Step, Tensors
from deploy_bias.export.graphs.encoder import RUBBISH, build_encoder, encoder_settings
from deploy_bias.export.graphs.frontend import Normalize, build_frontend, frontend_weights
from deploy_bias.export.sources.state_dict import named_weights
from deploy_bias.export.steps.offline_encoder import OfflineEncoderStep
from deploy_bias.export.steps.offline_frontend import OfflineFrontendStep
from deploy_bias.model.encoder import Encoder
from deploy_bias.model.frontend import DefaultFrontend

SEED = 25
QUIET = 0.1
MOST_SECONDS = 600
"""Of an utterance. Time grows with its square, memory does not."""


class OfflineGraph(ExportGraph):
    """A graph of a dynamic length along axis 1 of its first input."""

    # As of the streaming graphs.
    relative_limit = 1e-3
    stored_cases = ("short",)
    # The sines of far positions: XNNPACK's are off by 1e-5.
    undelegated = ("sin.default", "cos.default")

    def dynamic_shapes(self) -> tuple[Any, ...]:
        """Return the length as a multiple of a number, where it grows by more than 1."""
        length = self.length
        if length.step == 1:
            size = Dim(length.name, min=length.minimum, max=length.maximum)
        else:
            steps = (length.maximum - length.minimum) // length.step + 1
            rest = length.minimum - length.step
            size = length.step * Dim(f"{length.name}_steps", min=1, max=steps) + rest
        return ({1: size}, *({} for _ in self.contract.inputs[1:]))

    @property
    def example_length(self) -> int:
        """Half of the greatest length.

        ATen takes another convolution from 20,480 elements on. With a shorter example the passes of
        ExecuTorch take that for the greatest size, and plan the memory for it.
        """
        return self.length.at_least(self.length.maximum // 2)

    @property
    def length(self) -> DynamicSize:
        """The length of the first input."""
        length = self.contract.inputs[0].shape[1]
        assert isinstance(length, DynamicSize)
        return length

    def noise(self, length: int, seed: int = 0) -> Tensor:
        """Return random values in the shape of the first input; samples are within 1."""
        generator = torch.Generator().manual_seed(SEED + length + seed)
        rest = [size for size in self.contract.inputs[0].shape[2:] if isinstance(size, int)]
        return (1.0 if rest else 0.1) * torch.randn(1, length, *rest, generator=generator)


class OfflineFrontendGraph(OfflineGraph):
    """Samples to normalised features.

    Args:
        frontend: the eager module.
        normalize: what follows it.
        contract: made by `make`.
    """

    def __init__(
        self, frontend: DefaultFrontend, normalize: Normalize, contract: GraphContract
    ) -> None:
        self.frontend, self.normalize = frontend.eval(), normalize
        self.contract = contract

    @classmethod
    def make(
        cls, spec: ModuleSpec, state: Mapping[str, Tensor], settings: FrontendSettings, where: str
    ) -> Self:
        """Make the graph; see `FrontendGraph.make`."""
        frontend, normalize = build_frontend(spec, state, where)
        longest = MOST_SECONDS * settings.fs
        # A shorter utterance cannot be reflected at its edges.
        samples = DynamicSize(name="samples", minimum=settings.n_fft // 2 + 1, maximum=longest)
        features = (1, DynamicSize(name="frames", maximum=_frames(settings)), frontend.n_mels)
        contract = GraphContract(
            name="offline_frontend",
            kind="offline_frontend",
            module=spec,
            settings=settings.model_dump(),
            inputs=(TensorSpec(name="samples", dtype="float32", shape=(1, samples)),),
            outputs=(TensorSpec(name="features", dtype="float32", shape=features),),
        )
        return cls(frontend, normalize, contract)

    @classmethod
    def of(cls, contract: GraphContract, weights: Mapping[str, Tensor], where: str) -> Self:
        """Make the graph of a contract; see `make`."""
        return cls(*build_frontend(contract.module, weights, where), contract)

    def weights(self) -> dict[str, Tensor]:
        """Return the tensors of the frontend and the normalisation."""
        return frontend_weights(self.contract.module, self.frontend, self.normalize)

    def module(self, layout: Layout) -> nn.Module:
        """Return the frontend's step."""
        return OfflineFrontendStep(self.frontend, self.normalize)

    def example_inputs(self) -> tuple[Tensor, ...]:
        """Return noise of the example's length."""
        return (self.noise(self.example_length),)

    def eager(self, dtype: torch.dtype) -> Call:
        """Return the frontend in `dtype`."""
        frontend = copy.deepcopy(self.frontend).to(dtype)
        normalize = None if self.normalize is None else copy.deepcopy(self.normalize).to(dtype)

        def call(inputs: Tensors) -> dict[str, Tensor]:
            features = frontend(inputs["samples"])
            return {"features": features if normalize is None else normalize(features)}

        return call

    def cases(self, seed: int = 0) -> dict[str, list[Step]]:
        """Return noise of several lengths and levels, with silence, and recorded speech.

        The speech is of half the rate: its upper bands never change.
        """
        least = self.length.minimum
        samples = {
            "the shortest": self.noise(least, seed),
            "short": self.noise(2 * least + 1, seed),
            "long": self.noise(20 * least + 7, seed),
            "loud": 10 * self.noise(5 * least, seed),
            # Not silence alone: less its own mean it is nothing but rounding.
            "half of it silence": self.noise(8 * least, seed) * _first_half(8 * least),
            "speech of half the rate": half_rate_speech(
                settings_of(self.contract, FrontendSettings).fs
            ),
        }
        return {name: [Step({"samples": tensor})] for name, tensor in samples.items()}


class OfflineEncoderGraph(OfflineGraph):
    """Features to encoder frames.

    Args:
        encoder: the eager module.
        contract: made by `make`.
    """

    def __init__(self, encoder: Encoder, contract: GraphContract) -> None:
        self.encoder = encoder.eval()
        self.contract = contract
        self.step = OfflineEncoderStep(encoder)

    @classmethod
    def make(
        cls,
        spec: ModuleSpec,
        state: Mapping[str, Tensor],
        left_context: int,
        frontend: FrontendSettings,
        where: str,
    ) -> Self:
        """Make the graph.

        Args:
            spec: see `build_encoder`.
            state: the whole model.
            left_context: of the streaming graph beside it.
            frontend: the settings of what comes before.
            where: the files, for errors.
        """
        encoder = build_encoder(spec, state, where)
        step = OfflineEncoderStep(encoder)
        settings = OfflineEncoderSettings(
            **encoder_settings(encoder, left_context).model_dump(),
            least_frames=encoder.least_frames,
        )
        most = min(_frames(frontend), encoder.most_frames or sys.maxsize)
        least, grows = step.least_frames, step.feature_frames
        sizes = DynamicSize(name="features", minimum=least, maximum=least, step=grows)
        sizes = sizes.model_copy(update={"maximum": sizes.at_least(most)})
        frames = DynamicSize(
            name="encoder_frames",
            minimum=step.encoder_frames(least),
            maximum=step.encoder_frames(sizes.maximum),
            step=step.encoder_frames(least),
        )
        rows = Rows(input="frames", offset=settings.offset, stride=settings.stride)
        contract = GraphContract(
            name="offline_encoder",
            kind="offline_encoder",
            module=spec,
            settings=settings.model_dump(),
            inputs=(
                TensorSpec(name="features", dtype="float32", shape=(1, sizes, encoder.input_size)),
                TensorSpec(name="frames", dtype="int64", shape=(1,), maximum=most),
            ),
            outputs=(
                TensorSpec(
                    name="encoder_out",
                    dtype="float32",
                    shape=(1, frames, encoder.output_size),
                    rows=rows,
                ),
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
        """Return the encoder's step."""
        return self.step

    def example_inputs(self) -> tuple[Tensor, ...]:
        """Return noise of the example's length."""
        return self.noise(self.example_length), torch.tensor([self.example_length])

    def eager(self, dtype: torch.dtype) -> Call:
        """Return the encoder in `dtype`, of the genuine frames alone."""
        encoder = copy.deepcopy(self.encoder).to(dtype)

        def call(inputs: Tensors) -> dict[str, Tensor]:
            features, frames = inputs["features"], inputs["frames"]
            genuine: Tensor = encoder(features[:, : int(frames)], frames)[0]
            rest = self.step.encoder_frames(features.size(1)) - genuine.size(1)
            return {"encoder_out": nn.functional.pad(genuine, (0, 0, 0, rest))}

        return call

    def cases(self, seed: int = 0) -> dict[str, list[Step]]:
        """Return noise of several lengths and levels, rubbish behind, and with silence."""
        one, step = self.length.minimum, self.length.step
        most = self.contract.inputs[1].maximum
        assert most is not None
        cases = {
            "the shortest": self._case(self.encoder.least_frames, seed),
            "short": self._case(self.encoder.least_frames + one // 3, seed),
            "one block": self._case(one, seed),
            "a frame more": self._case(one + 1, seed),
            "long": self._case(min(one + 4 * step + step // 3, most), seed),
            "loud": self._case(one + step, seed, 10.0),
        }
        silent = self._case(one + step // 2, seed)
        half = _first_half(silent["features"].size(1)).unsqueeze(2)
        cases["half of it silence"] = {**silent, "features": silent["features"] * half}
        return {name: [Step(inputs)] for name, inputs in cases.items()}

    def _case(self, frames: int, seed: int, scale: float = 1.0) -> dict[str, Tensor]:
        features = scale * self.noise(self.length.at_least(frames), seed)
        features[:, frames:] = RUBBISH
        return {"features": features, "frames": torch.tensor([frames])}


def half_rate_speech(fs: int) -> Tensor:
    """Return a shipped recording (1, S) in [-1, 1) at fs samples a second, with nothing above fs/4.

    It is resampled by way of its spectrum; it begins and ends with silence. And it is quiet: of
    loud speech the band at fs/4 holds the rounding of the transform just above LEAST_POWER, and
    divided by its small deviation that is 0.05 in eager float32 too.
    """
    path = files("deploy_bias") / "data/digits/wavs/prompts_0.wav"
    with path.open("rb") as stream, wave.open(stream) as recording:
        rate = recording.getframerate()
        samples = np.frombuffer(recording.readframes(recording.getnframes()), np.int16) / 32768
    length = len(samples) * fs // rate
    spectrum = np.fft.rfft(samples)[: length // 4]  # bins of rate / len(samples) Hz
    loud = torch.from_numpy(np.fft.irfft(spectrum, length) * (length / len(samples)))
    return QUIET * loud.float()[None]


def _first_half(length: int) -> Tensor:
    return (torch.arange(length) < length // 2).float()[None]


def _frames(settings: FrontendSettings) -> int:
    return MOST_SECONDS * settings.fs // settings.hop_length + 1
