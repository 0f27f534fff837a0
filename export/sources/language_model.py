"""An experiment of ESPnet's task `lm`, to be exported beside a transducer."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from deploy_bias.bundle.contract import ModuleSpec
from deploy_bias.errors import SourceError
from deploy_bias.export.sources.espnet import read_tokens, section
from deploy_bias.export.sources.files import open_files, read_yaml
from deploy_bias.export.sources.source import Source
from deploy_bias.export.sources.state_dict import part, read_state_dict

PREFIX = "lm"
"""ESPnet's, of the weights."""


def with_language_model(source: Source, folder: Path) -> Source:
    """Return a transducer with the language model of an experiment folder.

    Raises:
        SourceError: the source is no transducer, the files are missing or damaged, the model is no
            `seq_rnn`, or its vocabulary is another one than the transducer's.
    """
    if source.vocabulary is None:
        raise SourceError(f"--lm {folder}: {source.where} is no transducer, which it could help.")
    with open_files(folder, None, None) as files:
        if files.config is None:
            raise SourceError(f"--lm {folder}: expected the experiment's folder, with config.yaml.")
        config = read_yaml(files.config, str(files.config))
        state = read_state_dict(files.checkpoint)
        where = f"--lm {files.where}"
        tokens = read_tokens(config, files, where)
    if config.get("lm", "seq_rnn") != "seq_rnn" or "lm_conf" not in config:
        raise SourceError(
            f"{where}: lm is {config.get('lm')!r}; supported: 'seq_rnn', of ESPnet's lm task."
        )
    _check_tokens(tokens, source.vocabulary.tokens, where)
    options = {"vocab_size": len(source.vocabulary.tokens), **section(config, "lm_conf", where)}
    own: Mapping[str, Tensor] = {
        f"{PREFIX}.{n}": tensor for n, tensor in part(PREFIX, state).items()
    }
    return replace(
        source,
        info={**source.info, "lm": f"{folder.name}/{files.checkpoint.name}"},
        parts={**source.parts, "lm": ModuleSpec(type="seq_rnn", weights=PREFIX, options=options)},
        state={**source.state, **own},
    )


def _check_tokens(tokens: Any, expected: Sequence[str], where: str) -> None:
    """Label numbers are the transducer's: ESPnet adds up scores of other tokens in silence."""
    if not isinstance(tokens, list):
        raise SourceError(f"{where}: token_list: expected a list of tokens, got {tokens!r}.")
    if len(tokens) != len(expected):
        raise SourceError(
            f"{where}: has {len(tokens)} tokens and the transducer {len(expected)}; train it on "
            "the transducer's token list."
        )
    for label, (token, other) in enumerate(zip(map(str, tokens), expected, strict=True)):
        if token != other:
            raise SourceError(
                f"{where}: token {label} is {token!r}, and the transducer's is {other!r}; train it "
                "on the transducer's token list."
            )
