"""What every kind of checkpoint is read into."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from deploy_bias.bundle.contract import ModuleSpec
from deploy_bias.model.bias.positional_bias import RelativePositionBias, RotaryRelativePositionBias

Bias = RelativePositionBias | RotaryRelativePositionBias


@dataclass(frozen=True)
class Vocabulary:
    """The tokens by label, and how text is made of them."""

    tokens: tuple[str, ...]
    token_type: str | None
    bpe_model: bytes | None


@dataclass(frozen=True)
class Source:
    """What a checkpoint holds, in the names of ESPnet's `asr_transducer`.

    where: the files, for errors. info: the files, for the manifest.
    biases: bias modules by the prefix of their parameters, if there is nothing around them.
    parts: the modules of a transducer: `decoder` and `joint`, and `frontend` and `encoder` if the
        model has them and takes samples.
    state: the tensors of the parts, by name.
    vocabulary: of a transducer.
    frames: encoder frames to prove a transducer on, see `deploy_bias.export.sources.frames`.
    blank_durations: the frames of each blank, see `deploy_bias.bundle.settings.JointSettings`.
    whole_alone: why the model takes whole utterances alone; None if it may stream.
    notes: what the user should know.
    """

    where: str
    info: dict[str, str]
    biases: Mapping[str, Bias] = field(default_factory=dict)
    parts: Mapping[str, ModuleSpec] = field(default_factory=dict)
    state: Mapping[str, Tensor] = field(default_factory=dict)
    vocabulary: Vocabulary | None = None
    frames: Mapping[str, Tensor] = field(default_factory=dict)
    blank_durations: tuple[int, ...] = (1,)
    whole_alone: str | None = None
    notes: tuple[str, ...] = ()
