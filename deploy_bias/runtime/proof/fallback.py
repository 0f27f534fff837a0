"""Graphs that were checked before they are used, or others that are right. No torch here."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Literal

from deploy_bias.bundle import Bundle
from deploy_bias.bundle.contract import Precision
from deploy_bias.errors import BundleError, DeployBiasError, MismatchError, OptionError
from deploy_bias.runtime.backends import BACKENDS, unmet
from deploy_bias.runtime.graph import Graph, load
from deploy_bias.runtime.proof import prove, require_proof

Check = Literal[False, True, "fallback"]
"""Whether graphs are checked when they are loaded; "fallback" takes others where they are wrong."""

logger = logging.getLogger("deploy_bias")


def load_checked(
    bundle: Bundle,
    backend: str,
    precision: Precision,
    providers: Sequence[str] = (),
    check: Check = True,
) -> dict[str, Graph]:
    """Load graphs as `deploy_bias.runtime.load` does, and check them as asked.

    Raises:
        MismatchError: they are wrong here; with "fallback", so is all else that the bundle has.
        OptionError: `check` is neither a bool nor "fallback".
        BundleError, BackendError: as `load`.
    """
    if check not in (False, True, "fallback"):
        raise OptionError(f'check must be True, False or "fallback", got {check!r}.')
    graphs: dict[str, Graph] = {}
    try:
        graphs = load(bundle, backend, precision, providers=providers)
        if not check:
            return graphs
        report = prove(bundle, graphs, backend, precision, providers)
        if report.passed:
            return graphs
        if check != "fallback":
            require_proof(report)
        why = report.why
    except BundleError as error:
        if check != "fallback":
            raise
        why = str(error)
    wrong = [why]
    for name, kind, chosen in _others(bundle, backend, precision, providers):
        what = ", ".join((name, kind, *chosen))
        try:
            others = load(bundle, name, kind, providers=chosen)
        except DeployBiasError as error:
            wrong.append(f"{what}: {error}")
            continue
        if graphs and others.keys() != graphs.keys():
            continue
        second = prove(bundle, others, name, kind, chosen)
        if second.passed:
            logger.warning("%s; taking %s instead", why, what)
            return others
        wrong.append(second.why)
    raise MismatchError(f"{'; '.join(wrong)}. Nothing in the bundle is right here.")


def _others(
    bundle: Bundle, first: str, precision: Precision, providers: Sequence[str]
) -> Iterator[tuple[str, Precision, tuple[str, ...]]]:
    """Yield what to try next: other providers, then other precisions, then other backends."""
    manifest = bundle.manifest
    given = tuple(providers)
    while len(given) > 1:
        given = given[1:]
        yield first, precision, given
    if given:
        yield first, precision, ()
    for kind in manifest.precisions(first):
        if kind != precision:
            yield first, kind, ()
    for name in manifest.backends:
        if name != first and name in BACKENDS and not unmet(name):
            kinds = manifest.precisions(name)
            for kind in sorted(kinds, key=lambda kind: kind != precision):
                yield name, kind, ()
