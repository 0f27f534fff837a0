"""The decoder and the joint network of an ESPnet transducer, built from config and weights."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor, nn

from deploy_bias.errors import SourceError
from deploy_bias.export.sources.frames import read_frames
from deploy_bias.export.sources.state_dict import fill
from deploy_bias.model.decoder.mega_decoder import MEGADecoder
from deploy_bias.model.joint import JointNetwork

DECODER, JOINT = "decoder", "joint_network"
"""ESPnet's prefixes of the two modules in a checkpoint."""

_Module = TypeVar("_Module", bound=nn.Module)


@dataclass(frozen=True)
class Transducer:
    """What is decoded with: the two modules, the options they were made with, and the tokens.

    frames: of the encoder, see `deploy_bias.export.parity.vectors`.
    """

    decoder: MEGADecoder
    decoder_options: dict[str, Any]
    joint: JointNetwork
    joint_options: dict[str, Any]
    tokens: tuple[str, ...]
    token_type: str | None
    bpe_model: bytes | None
    frames: dict[str, Tensor]

    def weights(self) -> dict[str, Tensor]:
        """Return every tensor, by its ESPnet name."""
        return {
            f"{prefix}.{name}": tensor.detach()
            for prefix, module in ((DECODER, self.decoder), (JOINT, self.joint))
            for name, tensor in module.state_dict().items()
        }


def read_transducer(
    config: Mapping[str, Any], state: Mapping[str, Tensor], folder: Path, where: str
) -> Transducer:
    """Build the decoder and the joint network of an experiment.

    Args:
        config: the content of config.yaml.
        state: the whole model.
        folder: of config.yaml, which may hold encoder frames.
        where: the files, for errors.

    Raises:
        SourceError: an option is not supported, the weights do not fit it, or the token list is
            missing.
    """
    embed, enc = state.get(f"{DECODER}.embed.weight"), state.get(f"{JOINT}.lin_enc.weight")
    if embed is None or enc is None:
        missing = f"{DECODER}.embed.weight" if embed is None else f"{JOINT}.lin_enc.weight"
        raise SourceError(
            f"{where}: {missing} is missing; expected the whole model of an asr_transducer "
            "experiment. For the biases alone, give the checkpoint without a config."
        )
    tokens = config.get("token_list")
    if not isinstance(tokens, list) or len(tokens) != embed.shape[0]:
        found = f"{len(tokens)} entries" if isinstance(tokens, list) else repr(tokens)
        raise SourceError(
            f"{where}: token_list: expected a list of {embed.shape[0]} tokens, as many as the "
            f"decoder embeds, got {found}."
        )
    decoder_options = {"vocab_size": embed.shape[0], **(config.get("decoder_conf") or {})}
    joint_options = {
        "output_size": embed.shape[0],
        "encoder_size": enc.shape[1],
        "decoder_size": embed.shape[1],
        **(config.get("joint_network_conf") or {}),
    }
    return Transducer(
        decoder=build_decoder(decoder_options, state, where),
        decoder_options=decoder_options,
        joint=build_joint(joint_options, state, where),
        joint_options=joint_options,
        tokens=tuple(str(token) for token in tokens),
        token_type=config.get("token_type"),
        bpe_model=_read_bpe_model(config.get("bpemodel"), folder),
        frames=read_frames(folder, state, joint_options["encoder_size"]),
    )


def _read_bpe_model(path: str | None, folder: Path) -> bytes | None:
    """Read the sentencepiece model, if it is found.

    A recipe names it relative to its own folder, two above the experiment's. Without it pieces
    are joined where words start, so it may be missing.
    """
    if path is None:
        return None
    for place in (folder, folder.parent.parent, Path()):
        for name in (path, Path(path).name):
            if (place / name).is_file():
                return (place / name).read_bytes()
    return None


def build_decoder(options: dict[str, Any], state: Mapping[str, Tensor], where: str) -> MEGADecoder:
    """Build a decoder and load its weights strictly.

    Raises:
        SourceError: an option is not supported, or the weights do not fit.
    """
    return _build(MEGADecoder, "decoder_conf", options, DECODER, state, where)


def build_joint(options: dict[str, Any], state: Mapping[str, Tensor], where: str) -> JointNetwork:
    """Build a joint network and load its weights strictly.

    Raises:
        SourceError: an option is not supported, or the weights do not fit.
    """
    return _build(JointNetwork, "joint_network_conf", options, JOINT, state, where)


def _build(
    kind: type[_Module],
    section: str,
    options: dict[str, Any],
    prefix: str,
    state: Mapping[str, Tensor],
    where: str,
) -> _Module:
    known = list(inspect.signature(kind).parameters)
    if unknown := [name for name in options if name not in known]:
        raise SourceError(
            f"{where}: {section}: option {unknown[0]!r} is unknown, supported: {', '.join(known)}."
        )
    try:
        module = kind(**options)
    except (TypeError, ValueError) as error:
        raise SourceError(f"{where}: {section}: {error}") from error
    return fill(module, prefix, state, section, where)
