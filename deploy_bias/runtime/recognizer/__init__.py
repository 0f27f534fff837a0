"""The recogniser that fits a bundle. No torch here."""

from collections.abc import Callable, Sequence
from pathlib import Path

from deploy_bias.bundle import Bundle
from deploy_bias.bundle.contract import Precision
from deploy_bias.runtime.backends import require
from deploy_bias.runtime.phrases import Phrases
from deploy_bias.runtime.proof.fallback import Check
from deploy_bias.runtime.recognizer.base import LEAD_IN
from deploy_bias.runtime.recognizer.offline import OfflineRecognizer
from deploy_bias.runtime.recognizer.online import Recognizer


def open_recognizer(
    bundle: str | Path | Bundle,
    backend: str = "onnx",
    search: str = "greedy",
    *,
    precision: Precision = "fp32",
    providers: Sequence[str] = (),
    check: Check = False,
    lead_in: float = LEAD_IN,
    hotwords: Phrases = (),
    lm_weight: float = 0.0,
    **search_options: float,
) -> Recognizer | OfflineRecognizer:
    """Open an `OfflineRecognizer` if a bundle has its graphs for the backend, else a `Recognizer`.

    Args:
        bundle: the folder, or one that is open already.
        backend: see `Recognizer`, as all that follows.
        search: name.
        precision: of the graphs.
        providers, check: see `Recognizer`.
        lead_in: seconds of silence before the first sample; with 0 the result is ESPnet's.
        hotwords: that lead the search.
        lm_weight: of the bundle's language model, which leads a search with a beam; 0 is none.
        search_options: of the search, such as beam_size.

    Raises:
        BundleError, BackendError, OptionError, MismatchError: as `Recognizer`.
    """
    require(backend)
    bundle = bundle if isinstance(bundle, Bundle) else Bundle(bundle)
    there = {
        graph.name for artifact in bundle.artifacts(backend, precision) for graph in artifact.graphs
    }
    kind: Callable[..., Recognizer | OfflineRecognizer] = (
        OfflineRecognizer if there.issuperset(OfflineRecognizer.GRAPHS) else Recognizer
    )
    return kind(
        bundle,
        backend,
        search,
        precision=precision,
        providers=providers,
        check=check,
        lead_in=lead_in,
        hotwords=hotwords,
        lm_weight=lm_weight,
        **search_options,
    )
