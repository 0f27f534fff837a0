"""Transducer searches: encoder frames in, labels and scores out. One file a search.

`greedy` follows the best label; `default`, `tsd`, `alsd` and `maes` are the beam searches of
ESPnet's BeamSearchTransducer, with its names, defaults and results. `asr_greedy`, `mbg`, `nsc` and
`asr_maes` are of ESPnet's `asr` task: what it does with a beam_size of 1, with blanks of several
frames, and with prefixes.
"""

import inspect
import math

from deploy_bias.errors import ContractError, OptionError
from deploy_bias.runtime.decoder import Decoder
from deploy_bias.runtime.joint import Joint
from deploy_bias.runtime.language_model import LanguageModel
from deploy_bias.runtime.search.alsd import AlsdSearch
from deploy_bias.runtime.search.asr_greedy import AsrGreedySearch
from deploy_bias.runtime.search.asr_maes import AsrMaesSearch
from deploy_bias.runtime.search.beam import BeamSearch
from deploy_bias.runtime.search.default import DefaultSearch
from deploy_bias.runtime.search.greedy import GreedySearch
from deploy_bias.runtime.search.hotwords import Hotwords
from deploy_bias.runtime.search.hypothesis import Result
from deploy_bias.runtime.search.maes import MaesSearch
from deploy_bias.runtime.search.mbg import MultiBlankGreedySearch
from deploy_bias.runtime.search.nsc import NscSearch
from deploy_bias.runtime.search.search import Search
from deploy_bias.runtime.search.tsd import TsdSearch

SEARCHES: dict[str, type[Search]] = {
    "greedy": GreedySearch,
    "asr_greedy": AsrGreedySearch,
    "mbg": MultiBlankGreedySearch,
    "default": DefaultSearch,
    "maes": MaesSearch,
    "tsd": TsdSearch,
    "alsd": AlsdSearch,
    "nsc": NscSearch,
    "asr_maes": AsrMaesSearch,
}

LM_WEIGHT = 0.1
"""Of what a language model says, if nothing is said; ESPnet's."""


def check_weight(weight: float) -> float:
    """Return the weight of a language model; an OptionError unless it is finite, 0 or more."""
    number = isinstance(weight, int | float) and not isinstance(weight, bool)
    if not number or not 0 <= weight < math.inf:
        raise OptionError(f"lm_weight must be a number, 0 or more, got {weight!r}.")
    return weight


def open_search(
    name: str,
    decoder: Decoder,
    joint: Joint,
    *,
    hotwords: Hotwords | None = None,
    lm: LanguageModel | None = None,
    lm_weight: float = LM_WEIGHT,
    **options: float,
) -> Search:
    """Open a search by name.

    Args:
        name: in SEARCHES.
        decoder: of a bundle.
        joint: of the same one.
        hotwords: that lead a search with a beam.
        lm: the language model, of the same bundle, that leads a search with a beam.
        lm_weight: of what it says.
        options: of its class.

    Raises:
        OptionError: there is no such search, an option is none of its own or out of range, or it
            has no beam and there are hotwords or a language model.
        ContractError: the language model is of another bundle.
    """
    kind = search_class(name)
    known = list(inspect.signature(kind).parameters)[2:]
    if unknown := sorted(options.keys() - set(known)):
        raise OptionError(
            f"search {name!r} has no option {', '.join(unknown)}; it has "
            f"{', '.join(known) or 'none'}."
        )
    search = kind(decoder, joint, **options)
    for what, given in (("hotwords", hotwords), ("lm_weight", lm)):
        if given is not None and not isinstance(search, BeamSearch):
            raise OptionError(
                f"{what}: the {name} search has no beam that could be led; take maes, or another "
                "one with a beam."
            )
    if lm is not None:
        if lm.graph.weights_sha256 != decoder.graph.weights_sha256:
            raise ContractError("the language model is of another bundle; take its graph lm.")
        check_weight(lm_weight)
    if isinstance(search, BeamSearch):
        search.take(hotwords, lm, lm_weight)
    return search


def search_class(name: str) -> type[Search]:
    """Return the class of a search.

    Raises:
        OptionError: there is no such search.
    """
    if name not in SEARCHES:
        raise OptionError(f"search {name!r} is unknown; choose from {', '.join(SEARCHES)}.")
    return SEARCHES[name]


__all__ = [
    "LM_WEIGHT",
    "SEARCHES",
    "AlsdSearch",
    "AsrGreedySearch",
    "AsrMaesSearch",
    "BeamSearch",
    "DefaultSearch",
    "GreedySearch",
    "Hotwords",
    "MaesSearch",
    "MultiBlankGreedySearch",
    "NscSearch",
    "Result",
    "Search",
    "TsdSearch",
    "check_weight",
    "open_search",
    "search_class",
]
