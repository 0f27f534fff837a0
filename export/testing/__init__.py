"""Any module, and what a backend makes of it; `deploy_bias.testing` is the door to it."""

from collections.abc import Callable, Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any

from torch import nn

from deploy_bias.bundle.contract import Append, Replace
from deploy_bias.errors import OptionError
from deploy_bias.export.parity.allowed import Allowed
from deploy_bias.export.parity.results import CaseResult, GraphResult, Report, WrongOperator
from deploy_bias.export.testing.arguments import check_allow
from deploy_bias.export.testing.artifacts import Artifact, Function, artifacts_of
from deploy_bias.export.testing.dynamic_graph import DynamicGraph
from deploy_bias.export.testing.flat import Inputs
from deploy_bias.export.testing.module_graph import ModuleGraph
from deploy_bias.export.testing.prove import prove
from deploy_bias.export.testing.quiet import quiet
from deploy_bias.testing import observers

__all__ = ["Allowed", "Artifact", "ParityError", "assert_export_parity"]

BACKENDS = ("torchscript", "onnx", "executorch")


class ParityError(AssertionError):
    """An exported module does not compute what the eager module does; `report` has it all."""

    def __init__(self, report: Report) -> None:
        self.report = report
        failed = [result for result in report.results if not result.passed]
        super().__init__("\n".join([*map(_describe, failed), *report.remarks]))


def assert_export_parity(
    module: nn.Module,
    example_inputs: Inputs,
    *,
    backends: Sequence[str] | None = None,
    artifacts: Sequence[str | Path | Function | Artifact] = (),
    cases: Mapping[str, Inputs | Sequence[Inputs]] | None = None,
    dynamic_shapes: Any = None,
    steps: int | None = None,
    state: Mapping[str, str | Replace | Append] | None = None,
    reference: Callable[..., Any] | None = None,
    ranges: Mapping[str, tuple[int, int]] | None = None,
    allow: Mapping[str, Allowed] | None = None,
    max_seconds: float | None = None,
    seed: int = 0,
    attribute: bool = False,
) -> Report:
    """Export a module to every backend, or take your own files; compare every output with float64.

    The module is copied in eval mode and its shapes are those of the example. It is run on the
    example, on stress inputs made like it (zeros, large, tiny, one-hot, repeated rows, ...: those
    that the module itself does not refuse) and on your own cases. Every output of every step may
    be off by four times eager float32's own error, see `deploy_bias.export.parity.judge`. Needs
    `pip install 'deploy-bias[export]'`.

    Args:
        module: the eager module, of any precision.
        example_inputs: a tensor, a tuple of arguments, or arguments by name; tensors may be nested
            in tuples, lists and dicts. Input names are those of `forward`: x; windows_0 in a list.
        backends: what it is exported to and must be right there. Default "torchscript", "onnx" and
            "executorch", or none where there are artifacts. One that is not installed fails.
        artifacts: files that you made of the module (.onnx, .pte, .pt, .pt2, OpenVINO's .xml) and
            functions of numpy arrays by name, judged as the exports are. Each may be an `Artifact`,
            that says the file's names, its method, or the providers of ONNX Runtime.
        cases: more cases by name, recorded inputs above all: inputs as the example, or a list of
            them, one a step.
        dynamic_shapes: as torch.export takes it. The exports are made with it, and everything is
            run at the least, the greatest and odd sizes besides; without a bound that is 1, and
            twice the example's and one.
        steps: of a rollout, if there is state, default 16; each backend carries its own.
        state: the inputs that are carried: each by the output that is its next value, or by a
            `deploy_bias.bundle.contract.Append` for a window whose last row it is. A buffer that
            forward changes is state besides, from what it holds at first: buffer, next_buffer.
            Outputs are `output`, or output_0, output_1 of a tuple, or the names of a dict.
        reference: a module or function that takes and gives float64; default the module itself,
            computed in float64.
        ranges: least and greatest number of an integer input; default what the example shows.
        allow: what may be off all the same, by the name of a case or an output. It stands in every
            report, and what nothing needs any more fails.
        max_seconds: after which no more stress cases are run and no failure is made smaller or
            attributed; what was left out stands in every report. The example, your own cases and
            the exports take what they take.
        seed: of the random cases.
        attribute: keep the error after each stage of the export of what passed, too.

    Returns:
        What was compared; `refused` names the stress inputs that the module does not take.

    Raises:
        ParityError: an AssertionError that shows for each output that failed its worst element,
            the smallest case and the first stage of the export at which the error appears.
        OptionError: the arguments do not fit the module; or it is no function of its inputs, for it
            changes an input or a parameter, or draws random numbers in eval mode; or which input or
            output of a file is which is not certain.
        BackendError: there is no backend of a name.
    """
    __tracebackhide__ = True  # pytest shows the line of the test
    try:
        with quiet():
            files = artifacts_of(artifacts)
            names = _backends(backends, files)
            options: dict[str, Any] = {
                "state": state or {},
                "cases": cases or {},
                "steps": steps,
                "reference": reference,
                "ranges": ranges or {},
                "seed": seed,
            }
            if dynamic_shapes is None:
                graph = ModuleGraph(module, example_inputs, **options)
            else:
                options["dynamic_shapes"] = dynamic_shapes
                graph = DynamicGraph(module, example_inputs, **options)
            report = prove(
                graph,
                names,
                files,
                attribute,
                check_allow(allow or {}),
                inf if max_seconds is None else max_seconds,
            )
    except Exception as error:
        _tell(_not_compared(module, error))
        raise
    _tell(report)
    if not report.passed:
        raise ParityError(report)
    return report


def _backends(given: object, files: Sequence[Artifact]) -> list[str]:
    if given is None:
        return [] if files else list(BACKENDS)
    if isinstance(given, str) or not isinstance(given, Sequence) or not (given or files):
        raise OptionError(f"backends: expected some names, as ['onnx'], got {given!r}.")
    return list(given)


def _tell(report: Report) -> None:
    for observe in observers:
        observe(report.to_dict())


def _not_compared(module: object, error: Exception) -> Report:
    """Return a report of the error that came in place of one, for no one must take it for green."""
    problem = f"not compared: {type(error).__name__}: {error}"
    return Report((GraphResult(type(module).__name__, "any", "fp32", "", (), problem=problem),))


def _describe(result: GraphResult) -> str:
    head = f"{result.graph} on {result.backend}"
    failed = [case for case in result.worst_by_output if not case.passed]
    if not failed:
        return f"{head}: {result.why}"
    count = len({case.output for case in result.cases})
    lines = [f"{head}: {len(failed)} of {count} outputs differ"]
    for case in failed:
        lines += [f"  {line}" for line in _lines(result.backend, case)]
    lines += [f"  {result.hint}"] if result.hint else []
    return "\n".join(lines)


def _lines(backend: str, case: CaseResult) -> list[str]:
    if case.decided_nothing:
        return [f"{case.output}: case {case.case!r} {case.undecided}"]
    smallest = case.smallest
    where = f"in case {case.case!r} at step {case.worst['step']} of {case.steps}"
    allowed = f"error {case.error:.2g} {where}; at most {case.budget:.2g} is allowed"
    if not case.eager_is_sound:
        allowed = f"{case.not_sound}; {where}. Mend one, or say with reference= what is right"
    lines = [f"{case.output}: {allowed}", *_element(backend, case.output, case.worst)]
    if smallest is not None:
        lines.append(f"  the smallest case that fails, {smallest.steps} of {case.steps} steps:")
        lines += [f"    step {number}: {text}" for number, text in enumerate(smallest.inputs)]
        lines += [f"  {line}" for line in _element(backend, case.output, smallest.worst)]
    stages = ", ".join(
        f"{found.stage} {found.problem or format(found.error, '.2g')}" for found in case.stages
    )
    lines.append(f"  first wrong in {case.first_stage or 'no stage'} ({stages})")
    if case.wrong is not None:
        lines += _operator(backend, case.wrong)
    return lines


def _operator(backend: str, wrong: WrongOperator) -> list[str]:
    lines = [f"  first wrong operator: {wrong.operator}, {wrong.within}"]
    lines += [f"    {where}" for where in (wrong.source, wrong.module) if where]
    if wrong.worst:
        lines += [f"  {line}" for line in _element(backend, "", wrong.worst)[1:]]
        lines[-3] += f"    at {wrong.worst['index']}; at most {wrong.budget:.2g} is allowed"
    return lines


def _element(backend: str, output: str, worst: Mapping[str, object]) -> list[str]:
    width = max(12, len(backend) + 2)
    return [
        f"  step {worst['step']}, {output}{worst['index']}",
        f"    {backend:<{width}}{worst['got']}",
        f"    {'eager':<{width}}{worst['eager']}",
        f"    {'float64':<{width}}{worst['float64']}",
    ]
