"""The graph `module`: any module, in the shapes of its example inputs."""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Self, get_args

import torch
from torch import Tensor, nn

from deploy_bias.bundle.contract import (
    Append,
    DType,
    GraphContract,
    ModuleSpec,
    Replace,
    TensorSpec,
)
from deploy_bias.errors import OptionError
from deploy_bias.export.graph import DRAWS, Call, ExportGraph, Layout, Step, Tensors
from deploy_bias.export.numerics.narrowing import Narrowing, narrowed
from deploy_bias.export.numerics.rounding import Rounding
from deploy_bias.export.parity.judge import DECISIVE
from deploy_bias.export.rollout import run_case
from deploy_bias.export.testing.arguments import check_arguments
from deploy_bias.export.testing.copying import copy_module
from deploy_bias.export.testing.exact import exact_of
from deploy_bias.export.testing.flat import FlatModule, Inputs, flatten_inputs, outside
from deploy_bias.export.testing.function import check_is_function, check_shape
from deploy_bias.export.testing.memory import remember, with_memory
from deploy_bias.export.testing.stress import Range, make_like, stress_cases

STEPS = 16
"""Of a case, if there is state and nothing was said."""
RELATIVE_LIMIT = 1e-4
"""Float32 is nearer than this to what people train. What is past it, and far past what rounding
explains, is another function than the reference."""


class ModuleGraph(ExportGraph):
    """Any module, over steps if some of its inputs are state.

    Args:
        module: the eager module; it is copied, and the copy is put in eval mode.
        example_inputs: what it takes.
        state: the inputs that are carried: each by the output that is its next value, or by a
            `Replace` or an `Append` of `deploy_bias.bundle.contract`.
        cases: more cases to prove it on, by name: inputs, or a list of inputs, one a step.
        steps: of each case, if there is state; default 16.
        reference: what it must compute in float64; default the module in float64.
        ranges: least and greatest number of integer inputs; default what the example shows.
        seed: of the random cases.

    Attributes:
        given: the copy of the module.
        memory: the first value of each buffer that is state.
        dtypes: of its inputs and its weights.
        refused: the stress cases that the module refuses; known when `cases` was called.

    Raises:
        OptionError: something is no tensor, of another kind or dtype, unknown or misnamed; the
            module is no function of its inputs; or the reference gives no float64.
    """

    stored_cases = ()

    def __init__(
        self,
        module: nn.Module,
        example_inputs: Inputs,
        *,
        state: Mapping[str, str | Replace | Append],
        cases: Mapping[str, Inputs | Sequence[Inputs]],
        steps: int | None,
        reference: Callable[..., Any] | None,
        ranges: Mapping[str, Range],
        seed: int,
    ) -> None:
        check_arguments(module, state, cases, steps, ranges)
        tensors, structure = flatten_inputs(module, example_inputs, "example_inputs")
        self.example = {name: outside(tensor).contiguous() for name, tensor in tensors.items()}
        taken = tuple(_spec(name, tensor) for name, tensor in self.example.items())
        self.given = copy_module(module, structure, tensors)
        inner, structure, memory = with_memory(self.given, structure, tensors)
        self.memory = {name: outside(tensor).contiguous() for name, tensor in memory.items()}
        self.example |= self.memory
        taken += tuple(_spec(name, tensor) for name, tensor in self.memory.items())
        dtypes = [tensor.dtype for tensor in (*tensors.values(), *memory.values())]
        self.eager_module = FlatModule(inner, structure, dtypes).eval()
        self.dtypes = {*dtypes, *_dtypes(self.eager_module)}
        self.ranges, self.seed = ranges, seed
        self.refused: tuple[str, ...] = ()
        outputs = check_is_function(self.eager_module, self.example)
        self.shapes = {name: tensor.shape for name, tensor in outputs.items()}
        exact = self.eager_module.inner if reference is None else reference
        if memory and reference is not None:
            exact = remember(reference, inner)
        self.exact = exact_of(exact, self.eager_module, self.example, outputs)
        self.relative_limit, self.decisive = _limits({*self.dtypes, *self.exact.said})
        rules = {**state, **{name: f"next_{name}" for name in self.memory}}
        self.contract = GraphContract(
            name="module",
            kind="module",
            module=ModuleSpec(type=type(module).__name__, weights=""),
            inputs=taken,
            outputs=tuple(_spec(name, tensor) for name, tensor in outputs.items()),
            state=tuple(_rule(name, rule, self.example, outputs) for name, rule in rules.items()),
        )
        self.carried = {rule.input for rule in self.contract.state}
        if steps is not None and not self.carried:
            raise OptionError(
                f"steps={steps} without state: nothing is carried from one step to the next. Say "
                "state={INPUT: OUTPUT}, or leave steps out."
            )
        self.steps = (STEPS if steps is None else steps) if self.carried else 1
        self.own_cases = {name: self._read(name, given) for name, given in cases.items()}
        for name in ranges:
            _check_name(f"ranges: {name!r}", name, self.example)

    def of_half_precision(self, grain: torch.dtype) -> Self:
        """Return the same graph, computed in float16 or bfloat16 within."""
        found = copy.copy(self)
        found.grain = grain
        found.relative_limit, found.decisive = _limits([grain])
        return found

    @property
    def deciding(self) -> tuple[str, ...]:
        """The user's own inputs: random ones do not stand for them."""
        return ("example", *self.own_cases)

    def module(self, layout: Layout) -> nn.Module:
        """Return the module; it has no bias to lay out."""
        return self.eager_module

    def example_inputs(self) -> tuple[Tensor, ...]:
        """Return the example inputs."""
        return tuple(self.example.values())

    def eager(self, dtype: torch.dtype) -> Call:
        """Return the module, or the reference in float64."""
        return self._eager if dtype == torch.float32 else self.exact.call()

    def nearby(self, numbers: Sequence[int] = range(DRAWS)) -> list[Call]:
        """Return float64 with every operator rounded at random.

        In one draw subnormal numbers are taken for zero.
        """
        return [self._draw(number) for number in numbers]

    def cases(self, seed: int = 0) -> dict[str, list[Step]]:
        """Return the example, the stress cases that eager does not refuse, and the user's own."""
        fed = {name: tensor for name, tensor in self.example.items() if name not in self.carried}
        stress = stress_cases(fed, self.ranges, self.steps, self.seed + seed)
        # What a module remembers begins as its buffers are.
        made = {
            case: [Step({**given[0], **self.memory}), *map(Step, given[1:])]
            for case, given in stress.items()
        }
        if self.carried:
            normal = made["normal"]
            made["reset and replay"] = [*normal, Step(normal[0].inputs, "reset"), *normal[1:]]
            generator = torch.Generator().manual_seed(self.seed + seed)
            state = {
                name: make_like(self.example[name], "normal", 0, generator, self.ranges.get(name))
                for name in self.carried
            }
            made["a random state"] = [Step({**normal[0].inputs, **state}), *normal[1:]]
        example = [Step(self.example), *[Step(fed)] * (self.steps - 1)]
        for name in self.own_cases.keys() & {"example", *made}:
            raise OptionError(f"cases: {name!r} is the name of a case that is always run; rename.")
        made = {name: self._narrowed(steps) for name, steps in made.items()}
        example = self._narrowed(example)
        own = {name: self._narrowed(steps) for name, steps in self.own_cases.items()}
        taken = {name: case for name, case in made.items() if self._takes(case)}
        self.refused = tuple(name for name in made if name not in taken)
        return {"example": example, **taken, **own}

    def _narrowed(self, steps: Sequence[Step]) -> list[Step]:
        """Return steps with inputs that the grain can hold."""
        if self.grain is None:
            return list(steps)
        return [
            Step({name: narrowed(x, self.grain) for name, x in step.inputs.items()}, step.state)
            for step in steps
        ]

    def _takes(self, steps: Sequence[Step]) -> bool:
        try:
            outputs = run_case(self.contract, self._eager, steps, torch.float32)
        except Exception:  # whatever a module raises for what it is not made for
            return False
        for spec in self.contract.outputs:
            check_shape(spec.name, self.shapes[spec.name], outputs[spec.name].shape[1:])
        return True

    def _eager(self, inputs: Tensors) -> dict[str, Tensor]:
        tensors = [inputs[spec.name].to(dtype_of(spec)) for spec in self.contract.inputs]
        within = nullcontext() if self.grain is None else Narrowing(self.grain)
        with torch.no_grad(), within:
            outputs = self.eager_module(*tensors)
        return dict(zip((spec.name for spec in self.contract.outputs), outputs, strict=True))

    def _draw(self, number: int) -> Call:
        generator = torch.Generator().manual_seed(self.seed + number)
        return self.exact.call(Rounding(generator, flush=number == 0, grain=self.grain))

    def _read(self, case: str, given: Inputs | Sequence[Inputs]) -> list[Step]:
        """Return the steps of a case of the user's own."""
        steps = given if isinstance(given, list) else [given]
        found = []
        for number, inputs in enumerate(steps):
            where = f"cases: {case!r}, step {number}"
            nested, _ = flatten_inputs(self.given, inputs, where)
            tensors = self.memory | {
                name: outside(tensor).contiguous() for name, tensor in nested.items()
            }
            # The state of later steps is carried.
            for name, like in self.example.items():
                came = tensors.get(name)
                if came is None or (came.shape, came.dtype) != (like.shape, like.dtype):
                    raise OptionError(
                        f"{where}: {name} must be {like.dtype} {tuple(like.shape)} as in the "
                        f"example, got {'none' if came is None else (came.dtype, came.shape)}."
                    )
            kept = self.example.keys() - (self.carried if number else set())
            found.append(Step({name: tensors[name] for name in self.example if name in kept}))
        return found


def _rule(
    name: str, rule: str | Replace | Append, inputs: Tensors, outputs: Tensors
) -> Replace | Append:
    if isinstance(rule, str):
        rule = Replace(input=name, output=rule)
    where = f"state: {name!r}"
    if rule.input != name or not isinstance(rule, Replace | Append):
        raise OptionError(f"{where}: expected its own rule, to replace or to append, got {rule}.")
    taken = _check_name(where, name, inputs)
    given = _check_name(where, rule.output, outputs)
    if isinstance(rule, Append) and rule.row is not None:
        given = given[rule.row]
    wanted = taken if rule.update == "replace" else taken[:, 0]
    if (given.shape, given.dtype) != (wanted.shape, wanted.dtype):
        raise OptionError(
            f"{where}: {rule.output} must be {wanted.dtype} {tuple(wanted.shape)} to {rule.update} "
            f"it, and is {given.dtype} {tuple(given.shape)}."
        )
    return rule


def _check_name(where: str, name: str, known: Tensors) -> Tensor:
    if name not in known:
        raise OptionError(f"{where}: {name!r} is not among {', '.join(known)}.")
    return known[name]


def _dtypes(module: nn.Module) -> list[torch.dtype]:
    return [tensor.dtype for tensor in (*module.parameters(), *module.buffers())]


def _limits(dtypes: Iterable[torch.dtype]) -> tuple[float, float]:
    """Return the limit of what is rounded, and what is decisive, of the coarsest of some dtypes."""
    floating = [dtype for dtype in dtypes if dtype.is_floating_point]
    eps = max((torch.finfo(dtype).eps for dtype in floating), default=0.0)
    return max(RELATIVE_LIMIT, 4 * eps), max(DECISIVE, 16 * eps)


def dtype_of(spec: TensorSpec) -> torch.dtype:
    """Return the dtype of a tensor of a graph."""
    dtype: torch.dtype = getattr(torch, spec.dtype)
    return dtype


def _spec(name: str, tensor: Tensor) -> TensorSpec:
    dtype = str(tensor.dtype).removeprefix("torch.")
    if dtype not in get_args(DType) or 0 in tensor.shape:
        raise OptionError(
            f"{name} is {tensor.dtype} {tuple(tensor.shape)}; a graph has "
            f"{', '.join(get_args(DType))}, and nothing of size 0. Give an example of "
            "another size, or bind what is empty, or convert it, in a module around this one."
        )
    return TensorSpec(name=name, dtype=dtype, shape=tuple(tensor.shape))  # type: ignore[arg-type]
