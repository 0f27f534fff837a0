"""What a checkpoint is, and what can be exported of it: found out without an export."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from deploy_bias.errors import DeployBiasError, SourceError
from deploy_bias.export.graphs.model import model_graphs, offline_graphs, streaming_notes
from deploy_bias.export.options import ExportOptions
from deploy_bias.export.sources import Source, load, read_loaded, task_of
from deploy_bias.export.sources.files import open_files
from deploy_bias.model.encoder import build_encoder
from deploy_bias.model.frontend import get_frontend

PARTS = {"encoder": "encoder", "decoder": "decoder", "joint network": "joint_network"}
"""By ESPnet's prefixes of their weights."""


@dataclass(frozen=True)
class Description:
    """What a checkpoint holds.

    facts: what it is, a line each. parameters: of each part, and of all. exports: what may be asked
    of `export`, and why not; None where nothing is in the way. notes: what the user should know.
    """

    facts: dict[str, str]
    parameters: dict[str, int] = field(default_factory=dict)
    exports: dict[str, str | None] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def describe(path: Path) -> Description:
    """Describe an experiment, a pack of the model zoo or a state_dict.

    Raises:
        SourceError: its files are missing, unreadable or carry code.
    """
    with open_files(path, None, None) as files:
        config, state = load(files)
        facts = {"checkpoint": files.checkpoint.name}
        if config is not None:
            facts |= _of_config(config)
        try:
            source = read_loaded(config, state, files)
        except SourceError as error:
            why = _reason(error, str(files.where))
            return Description(facts, _parameters(state), {"anything": why}, files.notes)
    if not source.parts:
        modules = Counter(type(module).__name__ for module in source.biases.values())
        facts["biases"] = ", ".join(f"{count} {name}" for name, count in modules.items())
        return Description(facts, exports={"the biases": None}, notes=source.notes)
    notes = list(source.notes)
    exports = _exports(source, notes)
    return Description(facts | _of_source(source), _parameters(source.state), exports, (*notes,))


def _of_config(config: Mapping[str, Any]) -> dict[str, str]:
    """Return what can be said of a model that may not be supported."""
    return {
        "task": task_of(config),
        "encoder": str(config.get("encoder") or "blocks"),
        "decoder": str(config.get("decoder", "rnn")),
    }


def _of_source(source: Source) -> dict[str, str]:
    decoder, joint, vocabulary = source.parts["decoder"], source.parts["joint"], source.vocabulary
    facts = {
        "decoder": _listed(decoder.type, decoder.options, ("vocab_size",)),
        "joint network": _listed(
            "", joint.options, ("output_size", "encoder_size", "decoder_size")
        ),
    }
    if vocabulary is not None:
        kind = vocabulary.token_type or "of no type"
        bpe = ", with their sentencepiece model" if vocabulary.bpe_model else ""
        facts["tokens"] = f"{len(vocabulary.tokens)} {kind}{bpe}"
    if len(source.blank_durations) > 1:
        frames = ", ".join(map(str, source.blank_durations))
        facts["blanks"] = f"of {frames} frames: only the search mbg decodes them"
    if "encoder" in source.parts:
        facts |= _of_speech(source)
    return facts


def _of_speech(source: Source) -> dict[str, str]:
    options, conf = source.parts["frontend"].options, source.parts["encoder"].options
    facts = {"encoder": _body(conf)}
    try:
        frontend = get_frontend(**options["frontend_conf"])
        body = {name: value for name, value in conf.items() if name != "input_size"}
        encoder = build_encoder({"encoder_conf": body, "input_size": conf["input_size"]})
    except (TypeError, ValueError):
        return facts  # why, stands among the exports
    frame = 1000 * frontend.hop_length / frontend.fs
    facts |= {
        "sampling rate": f"{frontend.fs} Hz",
        "features": f"{frontend.n_mels} mel bands, one frame in {frame:g} ms, normalised by "
        f"{options['normalize'] or 'nothing'}",
        "encoder frames": f"one in {frame * encoder.stride:g} ms",
    }
    return facts


def _body(conf: Mapping[str, Any]) -> str:
    """Return the blocks of an encoder, in one line."""
    blocks = [
        _listed(
            f"{block.get('num_blocks') or 1} × {block.get('block_type')}",
            {
                name: block[name]
                for name in ("hidden_size", "linear_size", "heads")
                if name in block
            },
        )
        for block in conf.get("body_conf") or []
    ]
    main = conf.get("main_conf") or {}
    told = {name: main[name] for name in ("rel_pos_type", "dynamic_chunk_training") if name in main}
    return "; ".join([*blocks, *([_listed("", told)] if told else [])])


def _listed(name: str, options: Mapping[str, Any], without: tuple[str, ...] = ()) -> str:
    text = ", ".join(f"{key} {value}" for key, value in options.items() if key not in without)
    return f"{name} ({text})" if name and text else name or text


def _parameters(state: Mapping[str, Tensor]) -> dict[str, int]:
    counts = {
        name: sum(t.numel() for key, t in state.items() if key.startswith(f"{prefix}."))
        for name, prefix in PARTS.items()
    }
    return {name: count for name, count in counts.items() if count}


def _exports(source: Source, notes: list[str]) -> dict[str, str | None]:
    """Make the graphs of each wish, which is what an export does first."""

    def stream() -> None:
        notes.extend(streaming_notes(model_graphs(source, ExportOptions())))

    offline = ExportOptions(offline=True)
    exports = {"decoder and joint network": _why_not(source, lambda: model_graphs(source, offline))}
    if "encoder" not in source.parts:
        return exports | {"audio": "the model has no encoder, or features are made outside of it."}
    return exports | {
        "audio in chunks": source.whole_alone or _why_not(source, stream),
        "audio in whole utterances (--offline)": _why_not(
            source, lambda: offline_graphs(source, offline)
        ),
    }


def _why_not(source: Source, make: Callable[[], object]) -> str | None:
    try:
        make()
    except DeployBiasError as error:
        return _reason(error, source.where)
    return None


def _reason(error: Exception, where: str) -> str:
    return str(error).removeprefix(f"{where}: ")
