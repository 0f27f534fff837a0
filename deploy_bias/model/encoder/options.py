"""The options of ESPnet's encoder_conf, checked; names and defaults are ESPnet's.

Source: `espnet2.asr_transducer.encoder.building` and `.validation`. As there, a name that a
body or input block does not know changes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from torch import nn

from deploy_bias.model.activation import get_activation
from deploy_bias.model.normalization import get_normalization

XFORMERS = ("conformer", "branchformer", "ebranchformer")
BLOCK_TYPES = (*XFORMERS, "conv1d")
REL_POS_TYPES = ("latest", "legacy")


INPUT_NAMES = ("vgg_like", "subsampling_factor", "conv_size", "output_size", "block_type")
"""Of `input_conf`. ESPnet writes output_size itself, and no longer reads block_type."""

XFORMER_NAMES = (
    "block_type",
    "num_blocks",
    "hidden_size",
    "linear_size",
    "cgmlp_linear_units",
    "heads",
    "conv_mod_kernel_size",
    "depth_conv_kernel_size",
    "norm_eps",
    "norm_partial",
    "conv_mod_norm_eps",
    "conv_mod_norm_partial",
    "conv_mod_norm_momentum",
    "dropout_rate",
    "att_dropout_rate",
    "pos_wise_dropout_rate",
    "macaron_style",
)
"""Of `body_conf`. ESPnet no longer reads macaron_style."""

CONV1D_NAMES = (
    "block_type",
    "num_blocks",
    "input_size",
    "output_size",
    "kernel_size",
    "stride",
    "dilation",
    "groups",
    "bias",
    "relu",
    "batch_norm",
    "dropout_rate",
)
"""Of a conv1d in `body_conf`. ESPnet writes input_size itself."""


@dataclass(frozen=True)
class MainOptions:
    """`main_conf`. What acts in training alone is accepted and has no effect here.

    rel_pos_type is an option of ESPnet's `asr` task; `asr_transducer` has the latest alone.
    """

    pos_wise_act_type: str = "swish"
    conv_mod_act_type: str = "swish"
    pos_enc_dropout_rate: float = 0.0
    pos_enc_max_len: int = 5000
    simplified_att_score: bool = False
    rel_pos_type: str = "latest"
    norm_type: str = "layer_norm"
    conv_mod_norm_type: str = "layer_norm"
    after_norm_eps: float | None = None
    after_norm_partial: float | None = None
    blockdrop_rate: float = 0.0
    dynamic_chunk_training: bool = False
    short_chunk_threshold: float = 0.75
    short_chunk_size: int = 25
    num_left_chunks: int = 0
    activation_parameters: Mapping[str, float] = field(default_factory=dict)

    @property
    def legacy_positions(self) -> bool:
        """Whether scores are by ESPnet's legacy positions, see `legacy_positions`."""
        return self.rel_pos_type == "legacy"

    @property
    def causal(self) -> bool:
        """Whether convolutions see no later frame: they do not, when trained to stream."""
        return self.dynamic_chunk_training

    def pos_wise_activation(self) -> nn.Module:
        """Make the activation of the feed-forward halves."""
        return get_activation(self.pos_wise_act_type, **self.activation_parameters)

    def conv_mod_activation(self) -> nn.Module:
        """Make the activation of the conformer's convolution."""
        return get_activation(self.conv_mod_act_type, **self.activation_parameters)

    def after_norm(self, size: int) -> nn.Module:
        """Make the normalisation after the last block."""
        return get_normalization(
            self.norm_type, size, eps=self.after_norm_eps, partial=self.after_norm_partial
        )


def read_main(conf: Mapping[str, Any]) -> MainOptions:
    """Read `main_conf`.

    Raises:
        TypeError: an option is of the wrong type.
        ValueError: an activation, a normalisation or one of their options is unknown.
    """
    names = {f.name for f in fields(MainOptions)} - {"activation_parameters"}
    options = MainOptions(
        **{name: value for name, value in conf.items() if name in names},
        activation_parameters={name: v for name, v in conf.items() if name not in names},
    )
    for name in ("simplified_att_score", "dynamic_chunk_training"):
        flag(conf, name, "main_conf", False)
    # Whether or not a block has them: ESPnet makes both.
    options.pos_wise_activation()
    options.conv_mod_activation()
    if options.rel_pos_type not in REL_POS_TYPES:
        raise ValueError(
            f"main_conf: rel_pos_type must be one of {', '.join(REL_POS_TYPES)}, "
            f"got {options.rel_pos_type!r}."
        )
    if options.legacy_positions and (options.causal or options.simplified_att_score):
        raise ValueError(
            "main_conf: rel_pos_type legacy goes with neither simplified_att_score nor "
            "dynamic_chunk_training: ESPnet's asr task, which has it, has neither."
        )
    return options


@dataclass(frozen=True)
class BlockOptions:
    """One entry of `body_conf` that is a conformer, branchformer or ebranchformer.

    cgmlp_linear_units is an option of ESPnet's `asr` task: the size of the gated perceptron, which
    in `asr_transducer` is linear_size.
    """

    main: MainOptions
    hidden_size: int
    linear_size: int
    cgmlp_linear_units: int
    conv_mod_kernel_size: int
    depth_conv_kernel_size: int
    heads: int
    norm_eps: float | None
    norm_partial: float | None
    conv_mod_norm_eps: float | None
    conv_mod_norm_partial: float | None

    def norm(self) -> nn.Module:
        """Make a normalisation of hidden_size features."""
        return get_normalization(
            self.main.norm_type, self.hidden_size, eps=self.norm_eps, partial=self.norm_partial
        )

    def conv_mod_norm(self) -> nn.Module:
        """Make the normalisation of the spatial gating unit: half of the perceptron's features."""
        return get_normalization(
            self.main.conv_mod_norm_type,
            self.cgmlp_linear_units // 2,
            eps=self.conv_mod_norm_eps,
            partial=self.conv_mod_norm_partial,
        )


def read_block(conf: Mapping[str, Any], where: str, main: MainOptions) -> BlockOptions:
    """Read an X-former's entry of `body_conf`.

    Raises:
        TypeError: an option is of the wrong type.
        ValueError: an option is missing or out of its range.
    """
    check_names(conf, XFORMER_NAMES, where)
    kind = conf["block_type"]
    options = BlockOptions(
        main=main,
        hidden_size=whole(conf, "hidden_size", where),
        linear_size=whole(conf, "linear_size", where),
        cgmlp_linear_units=whole(conf, "cgmlp_linear_units", where, conf.get("linear_size")),
        conv_mod_kernel_size=whole(conf, "conv_mod_kernel_size", where),
        depth_conv_kernel_size=whole(
            conf, "depth_conv_kernel_size", where, conf["conv_mod_kernel_size"]
        ),
        heads=whole(conf, "heads", where, 4),
        norm_eps=conf.get("norm_eps"),
        norm_partial=conf.get("norm_partial"),
        conv_mod_norm_eps=conf.get("conv_mod_norm_eps"),
        conv_mod_norm_partial=conf.get("conv_mod_norm_partial"),
    )
    if options.hidden_size % options.heads:
        raise ValueError(
            f"{where}: hidden_size must be a multiple of heads = {options.heads}, "
            f"got {options.hidden_size}."
        )
    if kind != "conformer" and options.cgmlp_linear_units % 2:
        name = "cgmlp_linear_units" if "cgmlp_linear_units" in conf else "linear_size"
        raise ValueError(f"{where}: {name} must be even, got {options.cgmlp_linear_units}.")
    kernels = ["conv_mod_kernel_size"]
    if kind == "ebranchformer":
        kernels.append("depth_conv_kernel_size")
    for name in kernels:
        if getattr(options, name) % 2 == 0 and (kind == "conformer" or not main.causal):
            raise ValueError(
                f"{where}: {name} must be odd (as many frames before as after), "
                f"got {getattr(options, name)}."
            )
    return options


def check_names(conf: Mapping[str, Any], names: Sequence[str], where: str) -> None:
    """Raise a ValueError for an option that is unknown: it may change what the model computes."""
    if unknown := sorted(set(conf) - set(names)):
        raise ValueError(
            f"{where}: option {unknown[0]!r} is unknown, supported: {', '.join(names)}. If ESPnet "
            "does not read it, take it out of config.yaml."
        )


def whole(
    conf: Mapping[str, Any], name: str, where: str, default: int | None = None, least: int = 1
) -> int:
    """Read a whole number; without a default it must be there.

    Raises:
        TypeError: it is not a whole number.
        ValueError: it is missing or less than `least`.
    """
    value = conf.get(name, default)
    if value is None:
        raise ValueError(f"{where}: {name} is missing; a block of this type needs it.")
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{where}: {name} must be a whole number, got {value!r}.")
    if value < least:
        raise ValueError(f"{where}: {name} must be at least {least}, got {value}.")
    return value


def flag(conf: Mapping[str, Any], name: str, where: str, default: bool) -> bool:
    """Read a bool.

    Raises:
        TypeError: it is not a bool.
    """
    value = conf.get(name, default)
    if not isinstance(value, bool):
        raise TypeError(f"{where}: {name} must be true or false, got {value!r}.")
    return value
