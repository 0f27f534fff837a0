"""The frontend and the encoder of an ESPnet transducer, built from config and weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor, nn

from deploy_bias.errors import SourceError
from deploy_bias.export.sources.state_dict import fill, part
from deploy_bias.model.encoder import Encoder, build_encoder
from deploy_bias.model.frontend import DefaultFrontend, GlobalMVN, UtteranceMVN, get_frontend

FRONTEND, NORMALIZE, ENCODER = "frontend", "normalize", "encoder"
"""ESPnet's prefixes of the modules in a checkpoint."""

Normalize = GlobalMVN | UtteranceMVN | None

_Module = TypeVar("_Module", bound=nn.Module)


@dataclass(frozen=True)
class Speech:
    """What turns samples into encoder frames, with the options it was made with."""

    frontend: DefaultFrontend
    frontend_options: dict[str, Any]
    normalize: Normalize
    normalize_type: str | None
    normalize_options: dict[str, bool]
    encoder: Encoder
    encoder_options: dict[str, Any]

    @property
    def subsampling_factor(self) -> int:
        """Feature frames for an encoder frame, as ESPnet counts what is carried over."""
        conf = self.encoder_options.get("input_conf") or {}
        return int(conf.get("subsampling_factor", 4))

    def weights(self) -> dict[str, Tensor]:
        """Return every tensor, by its ESPnet name."""
        modules = {FRONTEND: self.frontend, ENCODER: self.encoder}
        if self.normalize is not None:
            modules[NORMALIZE] = self.normalize
        return {
            f"{prefix}.{name}": tensor.detach()
            for prefix, module in modules.items()
            for name, tensor in module.state_dict().items()
        }


def read_speech(
    config: Mapping[str, Any], state: Mapping[str, Tensor], where: str
) -> Speech | None:
    """Build the frontend and the encoder of an experiment.

    Returns:
        None if the configuration has no encoder, or if its features are made outside the model
        (`input_size` is set): then there is nothing from samples on.

    Raises:
        SourceError: an option is not supported, or the weights do not fit it.
    """
    if not config.get("encoder_conf") or config.get("input_size") is not None:
        return None
    frontend_options = dict(config.get("frontend_conf") or {})
    if config.get("frontend") not in (None, "default"):
        raise SourceError(f"{where}: frontend {config['frontend']!r} is not supported; default is.")
    normalize_type = config.get("normalize")
    normalize_conf = config.get("normalize_conf") or {}
    normalize_options = {
        name: bool(normalize_conf[name])
        for name in ("norm_means", "norm_vars")
        if name in normalize_conf
    }
    frontend = build_frontend(frontend_options, state, where)
    encoder_options = {"input_size": frontend.output_size(), **config["encoder_conf"]}
    return Speech(
        frontend=frontend,
        frontend_options=frontend_options,
        normalize=build_normalize(normalize_type, normalize_options, state, where),
        normalize_type=normalize_type,
        normalize_options=normalize_options,
        encoder=build_encoder_of(encoder_options, state, where),
        encoder_options=encoder_options,
    )


def build_frontend(
    options: Mapping[str, Any], state: Mapping[str, Tensor], where: str
) -> DefaultFrontend:
    """Build a frontend and load its mel matrix strictly.

    Raises:
        SourceError: an option is not supported, or the weights do not fit.
    """
    try:
        frontend = get_frontend(**options)
    except (TypeError, ValueError) as error:
        raise SourceError(f"{where}: frontend_conf: {error}") from error
    return fill(frontend, FRONTEND, state, "frontend_conf", where)


def build_normalize(
    kind: str | None, options: Mapping[str, bool], state: Mapping[str, Tensor], where: str
) -> Normalize:
    """Build a normalisation; the mean and deviation are in the weights.

    Raises:
        SourceError: an option is not supported, or the weights are missing.
    """
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


def build_encoder_of(
    options: Mapping[str, Any], state: Mapping[str, Tensor], where: str
) -> Encoder:
    """Build an encoder and load its weights strictly.

    Raises:
        SourceError: an option is not supported, or the weights do not fit.
    """
    conf = {name: value for name, value in options.items() if name != "input_size"}
    try:
        encoder = build_encoder({"encoder_conf": conf, "input_size": options["input_size"]})
    except (TypeError, ValueError) as error:
        raise SourceError(f"{where}: encoder_conf: {error}") from error
    return fill(encoder, ENCODER, state, "encoder_conf", where)
