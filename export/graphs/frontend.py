"""The graph `frontend`: samples in, normalised features out, for a fixed number of frames."""

import copy
from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from deploy_bias.bundle.contract import GraphContract, ModuleSpec, TensorSpec
from deploy_bias.bundle.settings import FrontendSettings
from deploy_bias.errors import SourceError
from deploy_bias.export.graph import Call, ExportGraph, Layout, Step, Tensors
from deploy_bias.export.sources.state_dict import fill, named_weights, part
from deploy_bias.export.steps.chunk import WholeUtteranceError
from deploy_bias.export.steps.frontend import FrontendStep
from deploy_bias.model.frontend import DefaultFrontend, GlobalMVN, UtteranceMVN, get_frontend

SEED = 23
NORMALIZE = "normalize"
"""ESPnet's prefix of the normalisation in a checkpoint."""

Normalize = GlobalMVN | UtteranceMVN | None


class FrontendGraph(ExportGraph):
    """The features of as many frames as a chunk can have new.

    Args:
        frontend: the eager module.
        normalize: what follows it.
        contract: made by `make`.
    """

    # A logarithm amplifies rounding where a band is far weaker than its neighbours.
    relative_limit = 1e-3
    stored_cases = ("noise",)

    def __init__(
        self, frontend: DefaultFrontend, normalize: GlobalMVN | None, contract: GraphContract
    ) -> None:
        self.contract = contract
        self.frontend, self.normalize = frontend, normalize
        frames = contract.outputs[0].shape[1]
        assert isinstance(frames, int)
        self.step = FrontendStep(frontend, normalize, frames)
        # Made in float64, not converted: its cosines and sines are rounded once.
        exact = copy.deepcopy(frontend).double()
        self.exact = FrontendStep(exact, copy.deepcopy(normalize), frames).double()

    @classmethod
    def make(
        cls,
        spec: ModuleSpec,
        state: Mapping[str, Tensor],
        settings: FrontendSettings,
        where: str,
    ) -> Self:
        """Make the graph.

        Args:
            spec: see `build_frontend`.
            state: the whole model.
            settings: how streaming cuts samples.
            where: the files, for errors.

        Raises:
            SourceError: see `build_frontend`.
            ValueError: samples cannot be cut so, or the normalisation needs a whole utterance.
        """
        frontend, normalize = build_frontend(spec, state, where)
        if isinstance(normalize, UtteranceMVN):
            raise WholeUtteranceError("normalize utterance_mvn needs the whole utterance.")
        chunking = settings.chunking
        # One call is enough for each chunk: what is carried over is not computed again.
        frames = max(
            chunking.first_frames,
            chunking.regular_frames - chunking.carried,
            chunking.last_frames - chunking.carried,
        )
        samples = (frames - 1) * settings.hop_length + settings.n_fft
        features = (1, frames, frontend.output_size())
        contract = GraphContract(
            name="frontend",
            kind="frontend",
            module=spec,
            settings=settings.model_dump(),
            inputs=(TensorSpec(name="samples", dtype="float32", shape=(1, samples)),),
            outputs=(TensorSpec(name="features", dtype="float32", shape=features),),
        )
        return cls(frontend, normalize, contract)

    @classmethod
    def of(cls, contract: GraphContract, weights: Mapping[str, Tensor], where: str) -> Self:
        """Make the graph of a contract; see `make`."""
        frontend, normalize = build_frontend(contract.module, weights, where)
        assert not isinstance(normalize, UtteranceMVN)
        return cls(frontend, normalize, contract)

    def weights(self) -> dict[str, Tensor]:
        """Return the tensors of the frontend and the normalisation."""
        return frontend_weights(self.contract.module, self.frontend, self.normalize)

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


def build_frontend(
    spec: ModuleSpec, state: Mapping[str, Tensor], where: str
) -> tuple[DefaultFrontend, Normalize]:
    """Build a frontend with its mel matrix, and the normalisation that follows.

    Args:
        spec: with the options frontend_conf, normalize and normalize_conf, as ESPnet names them.
        state: the whole model.
        where: the files, for errors.

    Raises:
        SourceError: an option is not supported, or the weights do not fit.
    """
    try:
        frontend = get_frontend(**spec.options["frontend_conf"])
    except (TypeError, ValueError) as error:
        raise SourceError(f"{where}: frontend_conf: {error}") from error
    fill(frontend, spec.weights, state, "frontend_conf", where)
    kind, options = spec.options["normalize"], spec.options["normalize_conf"]
    return frontend, _build_normalize(kind, options, state, where)


def frontend_weights(
    spec: ModuleSpec, frontend: DefaultFrontend, normalize: Normalize
) -> dict[str, Tensor]:
    """Return the tensors of a frontend and its normalisation."""
    weights = named_weights(spec.weights, frontend)
    return weights if normalize is None else weights | named_weights(NORMALIZE, normalize)


def _build_normalize(
    kind: str | None, options: Mapping[str, Any], state: Mapping[str, Tensor], where: str
) -> Normalize:
    try:
        match kind:
            case None:
                return None
            case "utterance_mvn":
                return UtteranceMVN(**options)
            case "global_mvn":
                own = part(NORMALIZE, state)
                if own.keys() != {"mean", "std"}:
                    raise SourceError(
                        f"{where}: expected {NORMALIZE}.mean and {NORMALIZE}.std, got "
                        f"{', '.join(sorted(own)) or 'none'}; global_mvn has both."
                    )
                return GlobalMVN.of(own["mean"], own["std"], **options)
            case _:
                raise SourceError(
                    f"{where}: normalize {kind!r} is not supported; global_mvn, utterance_mvn and "
                    "null are."
                )
    except (TypeError, ValueError) as error:
        raise SourceError(f"{where}: normalize_conf: {error}") from error
