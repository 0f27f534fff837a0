"""Transducer searches: encoder frames in, labels and scores out. One file a search.

`greedy` follows the best label; `default`, `tsd`, `alsd` and `maes` are the beam searches of
ESPnet's BeamSearchTransducer, with its names, defaults and results. `asr_greedy`, `mbg`, `nsc` and
`asr_maes` are of ESPnet's `asr` task: what it does with a beam_size of 1, with blanks of several
frames, and with prefixes.
"""

import inspect

from deploy_bias.errors import OptionError
from deploy_bias.runtime.decoder import Decoder
from deploy_bias.runtime.joint import Joint
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


def open_search(
    name: str,
    decoder: Decoder,
    joint: Joint,
    *,
    hotwords: Hotwords | None = None,
    **options: float,
) -> Search:
    """Open a search by name.

    Args:
        name: in SEARCHES.
        decoder: of a bundle.
        joint: of the same one.
        hotwords: that lead a search with a beam.
        options: of its class.

    Raises:
        OptionError: there is no such search, an option is none of its own or out of range, or it
            has no beam and there are hotwords.
    """
    if name not in SEARCHES:
        raise OptionError(f"search {name!r} is unknown; choose from {', '.join(SEARCHES)}.")
    known = list(inspect.signature(SEARCHES[name]).parameters)[2:]
    if unknown := sorted(options.keys() - set(known)):
        raise OptionError(
            f"search {name!r} has no option {', '.join(unknown)}; it has "
            f"{', '.join(known) or 'none'}."
        )
    search = SEARCHES[name](decoder, joint, **options)
    if hotwords is not None:
        if not isinstance(search, BeamSearch):
            raise OptionError(
                f"hotwords: the {name} search has no beam that they could lead; take maes, or "
                "another one with a beam."
            )
        search.take(hotwords)
    return search


__all__ = [
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
    "open_search",
]
