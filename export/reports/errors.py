"""Draw the error by step of each backend."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np

from deploy_bias.export.parity.results import CaseResult, GraphResult

COLUMNS = 3
FLOOR, CEILING = 1e-2, 1e2
"""What is less or more is drawn here."""
# Okabe and Ito's colours, which everyone can tell apart.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 8.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "deploy_bias",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#777",
}
NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


@dataclass(frozen=True)
class Figure:
    """An SVG, and the colour of each backend and precision in it."""

    svg: str
    colours: dict[str, str]


def error_figure(results: Sequence[GraphResult]) -> Figure | None:
    """Draw one graph on all backends: a panel for each rollout, and one for all that are a step.

    Drawn is the error by the budget, of the output that is nearest to its own; past 1 is a failure.
    None, if no case was run.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    lines = {
        f"{result.backend} {result.precision}": _by_case(result)
        for result in results
        if result.cases
    }
    steps = {case: len(errors) for cases in lines.values() for case, errors in cases.items()}
    rollouts = [case for case, count in steps.items() if count > 1]
    singles = [case for case, count in steps.items() if count == 1]
    panels = len(rollouts) + bool(singles)
    if not panels:
        return None
    worst = max(errors.max() for cases in lines.values() for errors in cases.values())
    limits = (FLOOR, 2.0 if worst <= 1 else CEILING)
    colours = dict(zip(lines, cycle(COLOURS)))
    with pyplot.rc_context(STYLE):
        columns = min(panels, COLUMNS)
        rows = -(-panels // COLUMNS)
        height = max(1.7, 0.7 + 0.16 * len(singles))
        figure, axes = pyplot.subplots(
            rows,
            columns,
            figsize=(3.7 * columns, height * rows),
            squeeze=False,
            layout="constrained",
        )
        for case, axis in zip(rollouts, axes.flat, strict=False):
            for name, cases in lines.items():
                if case in cases:
                    axis.plot(_shown(cases[case]), color=colours[name], linewidth=1)
            axis.axhline(1, color="#b00020", linewidth=0.8, linestyle="--")
            axis.set(title=case, xlabel="step", yscale="log", ylim=limits)
            axis.xaxis.get_major_locator().set_params(integer=True)
        for row in axes:
            row[0].set_ylabel("error / budget")
        if singles:
            _draw_singles(axes.flat[len(rollouts)], singles, lines, colours)
            axes.flat[len(rollouts)].set_xlim(limits)
        for axis in axes.flat[panels:]:
            axis.axis("off")
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata=NO_METADATA)
        pyplot.close(figure)
    text = buffer.getvalue()
    return Figure(text[text.index("<svg") :], colours)


def _draw_singles(
    axis: Any,
    cases: Sequence[str],
    lines: Mapping[str, Mapping[str, np.ndarray]],
    colours: Mapping[str, str],
) -> None:
    """Draw the cases of a single step as rows of marks, the backends of each side by side."""
    for number, (name, found) in enumerate(lines.items()):
        known = [row for row, case in enumerate(cases) if case in found]
        values = [_shown(found[cases[row]])[0] for row in known]
        rows = np.array(known) + 0.22 * (number - (len(lines) - 1) / 2)
        axis.plot(values, rows, "o", color=colours[name], markersize=3)
    axis.axvline(1, color="#b00020", linewidth=0.8, linestyle="--")
    axis.set(title="one step each", xlabel="error / budget", ylabel="", xscale="log")
    axis.set_yticks(range(len(cases)), cases)
    axis.invert_yaxis()


def _by_case(result: GraphResult) -> dict[str, np.ndarray]:
    """Return the error by the budget at each step, the worst over the outputs.

    Left out are stored vectors that passed: they are no backend's.
    """
    found: dict[str, list[CaseResult]] = {}
    for case in result.cases:
        if not (case.passed and case.case.startswith("stored ")):
            found.setdefault(case.case, []).append(case)
    return {
        name: np.max([np.array(case.errors) / case.budget for case in cases], axis=0)
        for name, cases in found.items()
    }


def _shown(errors: np.ndarray) -> np.ndarray:
    shown: np.ndarray = np.nan_to_num(errors, nan=CEILING, posinf=CEILING)
    return shown.clip(FLOOR, CEILING)
