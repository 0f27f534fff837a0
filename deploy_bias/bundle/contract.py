"""The contract of a graph: its inputs, outputs and state.

Written once by `export`, checked by every runtime. The same JSON stands in manifest.json and
inside each artifact. `deploy_bias.runtime.state` carries the state by it.
"""

from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError

from deploy_bias.errors import BundleError

DType = Literal["float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool"]
Precision = Literal["fp32", "int8", "int4", "auto"]
"""Of the linear layers' weights; inputs, outputs and state are float32 in each.

- "int8": 8-bit weights, and what a layer is fed is quantised to 8 bits as it comes.
- "int4": the same with 4-bit weights.
- "auto": as int8, but for the layers that `Manifest.float_layers` names.
"""
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


class Strict(BaseModel):
    """No field that is not known, and none that changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DynamicSize(Strict):
    """A dimension that the caller chooses within limits; the same name is the same size.

    It is `minimum`, `minimum` + `step`, ..., up to `maximum`.
    """

    name: str
    minimum: PositiveInt = 1
    maximum: PositiveInt
    step: PositiveInt = 1

    def admits(self, size: int) -> bool:
        """Return whether a size is one of these."""
        return self.minimum <= size <= self.maximum and self.at_least(size) == size

    def at_least(self, size: int) -> int:
        """Return the smallest of them that is not below a size, whatever the maximum."""
        return self.minimum + max(-(-(size - self.minimum) // self.step), 0) * self.step


class Rows(Strict):
    """How many rows of an output's axis 1 are genuine: max((n - offset) // stride, 0).

    input: the name of an int64 input (1,), whose value is n.
    """

    input: str
    offset: NonNegativeInt
    stride: PositiveInt

    def count(self, value: int) -> int:
        """Return the number of genuine rows where the input is `value`."""
        return max((value - self.offset) // self.stride, 0)


class TensorSpec(Strict):
    """One input or output. shape: a number, or a `DynamicSize`, for each dimension.

    maximum: the largest number that an integer input may hold; the least is 0 then.
    rows: of an output whose last rows are not always genuine.
    """

    name: str
    dtype: DType
    shape: tuple[PositiveInt | DynamicSize, ...]
    maximum: NonNegativeInt | None = None
    rows: Rows | None = None

    @property
    def static_shape(self) -> tuple[int, ...]:
        """The shape without its dynamic dimensions."""
        return tuple(size for size in self.shape if isinstance(size, int))


class ModuleSpec(Strict):
    """The eager module that a graph computes, so that it can be built again.

    type: its name in the exporter's registries. weights: the prefix of its parameters in the
    checkpoint and in weights.safetensors. options: ESPnet's.
    """

    type: str
    weights: str
    options: dict[str, Any] = Field(default_factory=dict)


class Replace(Strict):
    """The next value is the output.

    batch_axis: of both, along which hypotheses lie side by side. initial: fills the first value.
    """

    update: Literal["replace"] = "replace"
    input: str
    output: str
    batch_axis: NonNegativeInt = 0
    initial: float = 0.0


class Append(Strict):
    """The input is a window: a hypothesis along axis 0, rows along axis 1, the oldest row first.

    The next window is this one without its oldest rows, and with the genuine rows of the output
    behind; of an output without `rows`, it is one row. The first window is zeros.

    row: the new row is `output[row]`.
    """

    update: Literal["append"] = "append"
    input: str
    output: str
    row: NonNegativeInt | None = None


class Count(Strict):
    """How many rows of the windows are valid: the newest ones.

    It grows by the genuine rows of `output`, or by 1, up to `limit`. Where it comes to
    `restart_at` it is `initial` again.
    """

    update: Literal["count"] = "count"
    input: str
    output: str | None = None
    initial: NonNegativeInt = 0
    limit: PositiveInt
    restart_at: PositiveInt | None = None


StateRule = Annotated[Replace | Append | Count, Field(discriminator="update")]
"""One input that the host carries from step to step, and how its next value is made."""


class GraphContract(Strict):
    """One graph: its name, the module it computes, its inputs, outputs and state in order.

    settings: what a host must know besides, by kind; see `deploy_bias.bundle.settings`.
    """

    name: str
    kind: str
    module: ModuleSpec
    settings: dict[str, Any] = Field(default_factory=dict)
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    state: tuple[StateRule, ...] = ()

    @property
    def stateless_inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs that are not state."""
        carried = {rule.input for rule in self.state}
        return tuple(spec for spec in self.inputs if spec.name not in carried)


_Settings = TypeVar("_Settings", bound=Strict)


def settings_of(contract: GraphContract, kind: type[_Settings]) -> _Settings:
    """Return the settings of a contract as a value.

    Raises:
        BundleError: they are of another kind.
    """
    try:
        return kind.model_validate(contract.settings)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise BundleError(
            f"graph {contract.name!r}: settings.{field}: {first['msg']}; export again."
        ) from error
