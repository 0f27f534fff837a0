"""Transducer searches: encoder frames in, labels and scores out. One file a search.

`greedy` follows the best label; `default` and `maes` are the beam searches of ESPnet's
BeamSearchTransducer, with its names, defaults and results. `asr_greedy` and `mbg` are of ESPnet's
`asr` task: what it does with a beam_size of 1, and with blanks of several frames.
"""

import inspect

from deploy_bias.errors import OptionError
from deploy_bias.runtime.decoder import Decoder
from deploy_bias.runtime.joint import Joint
from deploy_bias.runtime.search.asr_greedy import AsrGreedySearch
from deploy_bias.runtime.search.default import DefaultSearch
from deploy_bias.runtime.search.greedy import GreedySearch
from deploy_bias.runtime.search.maes import MaesSearch
from deploy_bias.runtime.search.mbg import MultiBlankGreedySearch
from deploy_bias.runtime.search.search import Result, Search

SEARCHES: dict[str, type[Search]] = {
    "greedy": GreedySearch,
    "asr_greedy": AsrGreedySearch,
    "mbg": MultiBlankGreedySearch,
    "default": DefaultSearch,
    "maes": MaesSearch,
}


def open_search(name: str, decoder: Decoder, joint: Joint, **options: float) -> Search:
    """Open a search by name, with the options of its class.

    Raises:
        OptionError: there is no such search, or an option is none of its own or out of range.
    """
    if name not in SEARCHES:
        raise OptionError(f"search {name!r} is unknown; choose from {', '.join(SEARCHES)}.")
    known = list(inspect.signature(SEARCHES[name]).parameters)[2:]
    if unknown := sorted(options.keys() - set(known)):
        raise OptionError(
            f"search {name!r} has no option {', '.join(unknown)}; it has "
            f"{', '.join(known) or 'none'}."
        )
    return SEARCHES[name](decoder, joint, **options)


__all__ = [
    "SEARCHES",
    "AsrGreedySearch",
    "DefaultSearch",
    "GreedySearch",
    "MaesSearch",
    "MultiBlankGreedySearch",
    "Result",
    "Search",
    "open_search",
]
