"""The contract of a graph, and the manifest that holds the contracts of a bundle.

Written once by `export`, checked by every runtime. The same JSON stands in manifest.json and
inside each artifact.
"""

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt

DType = Literal["float32", "int64", "int32", "bool"]
Precision = Literal["fp32", "int8", "int4"]
"""Of the linear layers' weights; inputs, outputs and state are float32 in each.

- "int8": 8-bit weights, and what a layer is fed is quantised to 8 bits as it comes.
- "int4": the same with 4-bit weights.
"""
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


class Strict(BaseModel):
    """No field that is not known, and none that changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DynamicSize(Strict):
    """A dimension that the caller chooses within limits; the same name is the same size."""

    name: str
    minimum: PositiveInt = 1
    maximum: PositiveInt


class TensorSpec(Strict):
    """One input or output. shape: a number, or a `DynamicSize`, for each dimension."""

    name: str
    dtype: DType
    shape: tuple[PositiveInt | DynamicSize, ...]


class BiasModule(Strict):
    """The eager module that a `bias` graph computes, so that it can be built again.

    `weights` is the prefix of its parameters in the checkpoint and in weights.safetensors.
    """

    type: Literal["RelativePositionBias", "RotaryRelativePositionBias"]
    weights: str
    max_positions: PositiveInt
    size: PositiveInt | None = None


class DecoderModule(Strict):
    """The eager module of a `decoder` graph: its ESPnet options, and how it is decoded with.

    context: N, the rows of a window. start: the rows that are valid before the first label, see
    `deploy_bias.bundle.window`.
    """

    type: Literal["MEGADecoder"]
    weights: str
    options: dict[str, Any]
    context: PositiveInt
    start: Literal["espnet", "clean"]


class JointModule(Strict):
    """The eager module of a `joint` graph, with its ESPnet options."""

    type: Literal["JointNetwork"]
    weights: str
    options: dict[str, Any]


class FrontendModule(Strict):
    """The eager modules of a `frontend` or `offline_frontend` graph, and how streaming cuts.

    normalize: ESPnet's name of the normalisation that follows; its weights are under `normalize`.
    fs: samples a second. n_fft, hop_length, decoding_window: samples. See
    `deploy_bias.bundle.chunking.Chunking`, which takes them.
    """

    type: Literal["DefaultFrontend"]
    weights: str
    options: dict[str, Any]
    normalize: Literal["global_mvn", "utterance_mvn"] | None
    normalize_options: dict[str, bool]
    fs: PositiveInt
    n_fft: PositiveInt
    hop_length: PositiveInt
    decoding_window: PositiveInt
    subsampling_factor: PositiveInt


class EncoderModule(Strict):
    """The eager module of an `encoder` or `offline_encoder` graph, with its ESPnet options.

    feature_frames: F, the most feature frames of a chunk. left_context: L, encoder frames before
    a chunk. stride, offset: see `encoder_frames`.
    """

    type: Literal["Encoder"]
    weights: str
    options: dict[str, Any]
    feature_frames: PositiveInt
    left_context: NonNegativeInt
    stride: PositiveInt
    offset: NonNegativeInt

    def encoder_frames(self, feature_frames: int) -> int:
        """Return how many encoder frames come of a chunk with so many feature frames."""
        return max((feature_frames - self.offset) // self.stride - 2, 0)


class ForeignModule(Strict):
    """A module that is not ours, for `deploy_bias.testing`; no bundle holds one.

    name: of its class.
    """

    type: Literal["ForeignModule"] = "ForeignModule"
    name: str


class State(Strict):
    """One input that the host carries from step to step, and how its next value is made.

    - "replace": the next value is the output.
    - "append": the input is a window, oldest row first along its axis 1; the next one is the
      window without its first row, and `output[row]` behind (`output` if no row is said).
    - "extend": likewise, with the first n rows of `output` behind and as many rows gone; n is
      `EncoderModule.encoder_frames` of the input `frames`.
    - "count": the number of valid rows of the windows: of a decoder as
      `deploy_bias.bundle.window.next_valid` counts, of an encoder min(valid + n, left_context).

    `initial` fills the first value.
    """

    input: str
    update: Literal["replace", "append", "extend", "count"]
    output: str | None = None
    row: NonNegativeInt | None = None
    initial: NonNegativeInt = 0


class GraphContract(Strict):
    """One graph: its name, the module it computes, its inputs, outputs and state in order."""

    name: str
    kind: Literal[
        "bias",
        "decoder",
        "joint",
        "frontend",
        "encoder",
        "offline_frontend",
        "offline_encoder",
        "module",
    ]
    module: Annotated[
        BiasModule | DecoderModule | JointModule | FrontendModule | EncoderModule | ForeignModule,
        Field(discriminator="type"),
    ]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    state: tuple[State, ...] = ()
