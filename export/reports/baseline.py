"""Compare a report with an earlier one: nothing may get worse unnoticed.

Allowances, stated wherever they are used:
- the error of a graph, in eager float32's own: half as much again, and anything up to 1, for
  rounding differs between processors; of a quantised graph the distance to eager, likewise;
- the size of a file: 2 %, for the versions written in it;
- operators, and those that no delegate takes: none.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from math import inf, isfinite, isnan
from pathlib import Path
from typing import Any

from deploy_bias.errors import OptionError

ALLOWANCES: dict[str, tuple[float, float]] = {
    "error over eager's": (1.5, 1.0),
    "distance to eager": (1.5, 0.0),
    "bytes": (1.02, 0.0),
    "operators": (1.0, 0.0),
    "undelegated operators": (1.0, 0.0),
}
"""By measure: the factor it may grow by, and what is never too much."""
ALLOWED = "allowed: errors half as much again and up to eager's own, bytes 2 %, operators none"


@dataclass(frozen=True)
class Growth:
    """One measure that is past its allowance; `now` is None if it was not measured any more."""

    subject: str
    measure: str
    before: float
    now: float | None
    allowed: float

    @property
    def why(self) -> str:
        """What grew, in a line."""
        was = f"{self.subject}: {self.measure} {_number(self.before)}"
        if self.now is None:
            return f"{was} in the baseline, and not checked now"
        return f"{was} → {_number(self.now)}, at most {_number(self.allowed)} allowed"


def read_baseline(path: Path) -> dict[str, Any]:
    """Read a parity.json to compare with.

    Raises:
        OptionError: it is missing, no parity.json of this version, or tells of a failure.
    """
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise OptionError(f"--baseline {path}: {error.strerror}; name a parity.json.") from error
    except ValueError as error:
        raise OptionError(f"--baseline {path}: not JSON ({error}); name a parity.json.") from error
    try:
        passed, known = content["passed"], dict(_measures(content))
        lists = (content["results"], content["artifacts"])
        unknown = [value for value in known.values() if not isfinite(value)]
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise OptionError(
            f"--baseline {path}: not a parity.json of this version ({type(error).__name__}: "
            f"{error}); write it again with `deploy-bias verify`."
        ) from error
    if not passed:
        raise OptionError(
            f"--baseline {path}: what it tells of did not pass; take one of a bundle that did."
        )
    if unknown or not all(lists):
        lacks = "NaN or infinity" if unknown else "no results, or no artifacts"
        raise OptionError(f"--baseline {path}: holds {lacks}; there is nothing to compare with.")
    found: dict[str, Any] = content
    return found


def growths(baseline: Mapping[str, Any], now: Mapping[str, Any]) -> list[Growth]:
    """Return what grew past its allowance, or is not measured any more.

    Args:
        baseline: what an earlier parity.json holds.
        now: likewise, of `Report.to_dict`.
    """
    measured = dict(_measures(now))
    known = dict(_measures(baseline, without=now["without"]))
    found = []
    for key, before in known.items():
        subject, measure = key
        if measure == "undelegated operators" and before == known[subject, "operators"]:
            continue  # Nothing was delegated: "operators" tells of one more. So always in ONNX.
        factor, enough = ALLOWANCES[measure]
        allowed = max(factor * before, enough)
        value = measured.get(key)
        if value is None or not value <= allowed:
            found.append(Growth(subject, measure, before, value, allowed))
    still = _cases(now)
    for subject, errors in _cases(baseline, without=now["without"]).items():
        gone = {} if subject not in still else errors.keys() - still[subject].keys()
        for case in sorted(gone):
            found.append(
                Growth(f"{subject}, case {case!r}", "error over eager's", errors[case], None, 0.0)
            )
    return found


def _cases(
    content: Mapping[str, Any], without: Collection[str] = ()
) -> dict[str, dict[str, float]]:
    """Return the errors of each case, by graph and backend."""
    found: dict[str, dict[str, float]] = {}
    for result in content["results"]:
        if result["backend"] not in without:
            errors = found.setdefault(_subject(result), {})
            for case in result["cases"]:
                error = float(case["error_by_eager"])
                errors[case["case"]] = max(error, errors.get(case["case"], 0.0))
    return found


def _subject(result: Mapping[str, Any]) -> str:
    return f"{result['graph']} on {result['backend']}, {result['precision']}"


def _measures(
    content: Mapping[str, Any], without: Collection[str] = ()
) -> Iterator[tuple[tuple[str, str], float]]:
    """Yield (subject, measure) and value of all that a baseline is compared by."""
    for result in content["results"]:
        if result["backend"] in without:
            continue
        subject = _subject(result)
        if result["cases"]:
            errors = [float(case["error_by_eager"]) for case in result["cases"]]
            worst = inf if any(map(isnan, errors)) else max(errors)
            yield (subject, "error over eager's"), worst
        elif result["agreement"]:
            yield (subject, "distance to eager"), float(result["agreement"]["distance"])
    for artifact in content["artifacts"]:
        yield (artifact["path"], "bytes"), float(artifact["bytes"])
        for graph, counts in artifact["operators"].items():
            subject = f"{graph} in {artifact['path']}"
            own, left = (sum(counts[side].values()) for side in ("delegated", "undelegated"))
            yield (subject, "operators"), float(own + left)
            yield (subject, "undelegated operators"), float(left)


def _number(value: float) -> str:
    if not isfinite(value):
        return str(value)
    return f"{value:,.0f}" if value == int(value) else f"{value:.3g}"
