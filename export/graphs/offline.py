"""The graphs `offline_frontend` and `offline_encoder`: whole utterances, of any length."""

import copy
import wave
from collections.abc import Mapping
from importlib.resources import files
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from deploy_bias.bundle.contract import (
    DynamicSize,
    GraphContract,
    ModuleSpec,
    TensorSpec,
    settings_of,
)
from deploy_bias.bundle.settings import FrontendSettings
from deploy_bias.export.graph import Call, ExportGraph, Layout, Step, Tensors
from deploy_bias.export.graphs.encoder import build_encoder, encoder_settings
from deploy_bias.export.graphs.frontend import Normalize, build_frontend, frontend_weights
from deploy_bias.export.sources.state_dict import named_weights
from deploy_bias.model.encoder import Encoder
from deploy_bias.model.frontend import DefaultFrontend

SEED = 25
QUIET = 0.1
MOST_SECONDS = 120
"""Of an utterance. Attention grows with its square: this takes 2.5 GB with 4 heads, 300 s 15 GB."""


class WholeFrontend(nn.Module):
    """Samples to normalised features."""

    def __init__(self, frontend: DefaultFrontend, normalize: Normalize) -> None:
        super().__init__()
        self.frontend, self.normalize = frontend, normalize

    def forward(self, samples: Tensor) -> Tensor:
        """(1, S) to (1, F, M)."""
        features: Tensor = self.frontend(samples)
        return features if self.normalize is None else self.normalize(features)


class WholeEncoder(nn.Module):
    """Features to encoder frames, every frame in sight of every one."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, features: Tensor) -> Tensor:
        """(1, F, M) to (1, T, D)."""
        length = torch.full((1,), features.size(1), dtype=torch.int64)
        encoder_out: Tensor = self.encoder(features, length)[0]
        return encoder_out


class OfflineGraph(ExportGraph):
    """A module of one input and one output, each with a dynamic length along its axis 1.

    Args:
        whole: the eager module.
        contract: made by `make` of its class.
    """

    # As of the streaming graphs.
    relative_limit = 1e-3
    stored_cases = ("short",)

    def __init__(self, whole: nn.Module, contract: GraphContract) -> None:
        self.whole = whole.eval()
        self.contract = contract

    def module(self, layout: Layout) -> nn.Module:
        """Return the eager module itself."""
        return self.whole

    def example_inputs(self) -> tuple[Tensor, ...]:
        """Return noise of three times the least length."""
        return (self._noise(3 * self._length.minimum),)

    def eager(self, dtype: torch.dtype) -> Call:
        """Return the module in `dtype`."""
        whole = copy.deepcopy(self.whole).to(dtype)
        (taken,), (given,) = self.contract.inputs, self.contract.outputs

        def call(inputs: Tensors) -> dict[str, Tensor]:
            return {given.name: whole(inputs[taken.name])}

        return call

    def cases(self, seed: int = 0) -> dict[str, list[Step]]:
        """Return noise of several lengths and levels, and with silence."""
        least = self._length.minimum
        name = self.contract.inputs[0].name
        noise = {
            "the shortest": self._noise(least, seed),
            "short": self._noise(2 * least + 1, seed),
            "long": self._noise(20 * least + 7, seed),
            "loud": 10 * self._noise(5 * least, seed),
            # Not silence alone: less its own mean it is nothing but rounding.
            "half of it silence": self._noise(8 * least, seed) * self._first_half(8 * least),
        }
        return {case: [Step({name: tensor})] for case, tensor in noise.items()}

    @property
    def _length(self) -> DynamicSize:
        length = self.contract.inputs[0].shape[1]
        assert isinstance(length, DynamicSize)
        return length

    def _first_half(self, length: int) -> Tensor:
        half = (torch.arange(length) < length // 2).float()
        return half.view(1, length, *[1] * (len(self.contract.inputs[0].shape) - 2))

    def _noise(self, length: int, seed: int = 0) -> Tensor:
        generator = torch.Generator().manual_seed(SEED + length + seed)
        rest = [size for size in self.contract.inputs[0].shape[2:] if isinstance(size, int)]
        # Samples are within 1, and features about 1.
        return (1.0 if rest else 0.1) * torch.randn(1, length, *rest, generator=generator)


class OfflineFrontendGraph(OfflineGraph):
    """Samples to normalised features."""

    whole: WholeFrontend

    def cases(self, seed: int = 0) -> dict[str, list[Step]]:
        """Return noise, and recorded speech of half the rate: its upper bands never change."""
        fs = settings_of(self.contract, FrontendSettings).fs
        speech = Step({self.contract.inputs[0].name: half_rate_speech(fs)})
        return {**super().cases(seed), "speech of half the rate": [speech]}

    @classmethod
    def make(
        cls, spec: ModuleSpec, state: Mapping[str, Tensor], settings: FrontendSettings, where: str
    ) -> Self:
        """Make the graph; see `FrontendGraph.make`."""
        frontend, normalize = build_frontend(spec, state, where)
        longest = MOST_SECONDS * settings.fs
        # A shorter utterance cannot be reflected at its edges.
        samples = DynamicSize(name="samples", minimum=settings.n_fft // 2 + 1, maximum=longest)
        features = (1, _frames(settings), frontend.output_size())
        contract = GraphContract(
            name="offline_frontend",
            kind="offline_frontend",
            module=spec,
            settings=settings.model_dump(),
            inputs=(TensorSpec(name="samples", dtype="float32", shape=(1, samples)),),
            outputs=(TensorSpec(name="features", dtype="float32", shape=features),),
        )
        return cls(WholeFrontend(frontend, normalize), contract)

    @classmethod
    def of(cls, contract: GraphContract, weights: Mapping[str, Tensor], where: str) -> Self:
        """Make the graph of a contract; see `make`."""
        return cls(WholeFrontend(*build_frontend(contract.module, weights, where)), contract)

    def weights(self) -> dict[str, Tensor]:
        """Return the tensors of the frontend and the normalisation."""
        whole = self.whole
        return frontend_weights(self.contract.module, whole.frontend, whole.normalize)


class OfflineEncoderGraph(OfflineGraph):
    """Features to encoder frames."""

    whole: WholeEncoder

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
        settings = encoder_settings(encoder, left_context)
        features = _frames(frontend).model_copy(update={"minimum": encoder.least_frames})
        if encoder.most_frames is not None and features.maximum > encoder.most_frames:
            features = features.model_copy(update={"maximum": encoder.most_frames})
        frames = DynamicSize(name="encoder_frames", maximum=features.maximum // settings.stride + 1)
        contract = GraphContract(
            name="offline_encoder",
            kind="offline_encoder",
            module=spec,
            settings=settings.model_dump(),
            inputs=(
                TensorSpec(
                    name="features", dtype="float32", shape=(1, features, encoder.input_size)
                ),
            ),
            outputs=(
                TensorSpec(
                    name="encoder_out", dtype="float32", shape=(1, frames, encoder.output_size)
                ),
            ),
        )
        return cls(WholeEncoder(encoder), contract)

    @classmethod
    def of(cls, contract: GraphContract, weights: Mapping[str, Tensor], where: str) -> Self:
        """Make the graph of a contract; see `make`."""
        return cls(WholeEncoder(build_encoder(contract.module, weights, where)), contract)

    def weights(self) -> dict[str, Tensor]:
        """Return the encoder's tensors."""
        return named_weights(self.contract.module.weights, self.whole.encoder)


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


def _frames(settings: FrontendSettings) -> DynamicSize:
    longest = MOST_SECONDS * settings.fs // settings.hop_length + 1
    return DynamicSize(name="frames", maximum=longest)
