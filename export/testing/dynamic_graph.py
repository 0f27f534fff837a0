"""The graph `module` with dynamic shapes: proven at the least, the greatest and odd sizes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from deploy_bias.bundle.contract import Append, DynamicSize, Replace, TensorSpec
from deploy_bias.errors import OptionError
from deploy_bias.export.graph import Step
from deploy_bias.export.rollout import run_case
from deploy_bias.export.testing.dynamic import LARGEST, DynamicShapes, Sizes
from deploy_bias.export.testing.flat import Inputs, flatten_inputs
from deploy_bias.export.testing.module_graph import ModuleGraph
from deploy_bias.export.testing.stress import Range, make_like


class DynamicGraph(ModuleGraph):
    """A module whose inputs have dynamic shapes.

    Args: as of `ModuleGraph`, and
        dynamic_shapes: see `DynamicShapes`.
    """

    def __init__(
        self,
        module: nn.Module,
        example_inputs: Inputs,
        *,
        dynamic_shapes: Any,
        state: Mapping[str, str | Replace | Append],
        cases: Mapping[str, Inputs | Sequence[Inputs]],
        steps: int | None,
        reference: Callable[..., Any] | None,
        ranges: Mapping[str, Range],
        seed: int,
    ) -> None:
        super().__init__(
            module,
            example_inputs,
            state=state,
            cases={},
            steps=steps,
            reference=reference,
            ranges=ranges,
            seed=seed,
        )
        if self.memory:
            raise OptionError(
                f"dynamic_shapes: forward changes the module's own {', '.join(self.memory)}; take "
                "it as an input and return it, with state={INPUT: OUTPUT}, or leave dynamic_shapes "
                "out."
            )
        structure = self.eager_module.structure
        self.dynamic = DynamicShapes(module, dynamic_shapes, self.example, structure)
        self.contract = self.contract.model_copy(
            update={
                "inputs": tuple(map(self.dynamic.spec, self.contract.inputs)),
            }
        )
        self.contract = self.contract.model_copy(update={"outputs": self._outputs()})
        self.own_cases = {name: self._read(name, given) for name, given in cases.items()}

    def dynamic_shapes(self) -> Any:
        """Return them for torch.export."""
        return self.dynamic.for_export()

    def cases(self, seed: int = 0) -> dict[str, list[Step]]:
        """Return the cases in the shapes of the example, and one of each of the sizes."""
        generator = torch.Generator().manual_seed(self.seed + seed)
        found = {case: self._filled(steps) for case, steps in super().cases(seed).items()}
        refused = []
        for name, sizes in self.dynamic.tried().items():
            steps = self._filled(self._sized(sizes, generator))
            if self._takes(steps):
                found[name] = self._narrowed(steps)
            else:
                refused.append(name)
        if len(refused) == len(self.dynamic.tried()):
            raise OptionError(
                f"dynamic_shapes: the module itself takes none of {', '.join(refused)}; narrow the "
                "bounds, or give cases= of other sizes if random inputs are what it refuses."
            )
        self.refused = (*self.refused, *refused)
        return found

    def _sized(self, sizes: Sizes, generator: torch.Generator) -> list[Step]:
        shapes = self.dynamic.shapes(sizes)
        return [
            Step(
                {
                    name: self._like(name, shape, step, generator)
                    for name, shape in shapes.items()
                    if name not in self.carried
                }
            )
            for step in range(self.steps)
        ]

    def _like(
        self, name: str, shape: tuple[int, ...], step: int, generator: torch.Generator
    ) -> Tensor:
        """Return random numbers of a shape, like those of the example."""
        values = self.example[name].flatten()
        number = torch.Size(shape).numel()
        repeated = values.repeat(-(-number // len(values)))[:number].view(shape)
        span = self.ranges.get(name)
        if span is None and not values.is_floating_point() and values.dtype != torch.bool:
            span = (int(values.min()), int(values.max()))
        return make_like(repeated, "normal", step, generator, span)

    def _filled(self, steps: Sequence[Step]) -> list[Step]:
        """Return steps that say the first state: of a dynamic size the contract cannot."""
        shapes = self.dynamic.shapes(self.dynamic.sizes_of(steps[0].inputs, "cases"))
        found = []
        for number, step in enumerate(steps):
            inputs = dict(step.inputs)
            if number == 0 or step.state == "reset":
                for rule in self.contract.state:
                    like = self.example[rule.input]
                    value = rule.initial if isinstance(rule, Replace) else 0
                    first = torch.full(shapes[rule.input], value, dtype=like.dtype)
                    inputs.setdefault(rule.input, first)
            found.append(Step(inputs, step.state))
        return found

    def _takes(self, steps: Sequence[Step]) -> bool:
        try:
            steps = self._filled(steps)
            run_case(self.contract, self.eager(torch.float32), steps, torch.float32)
        except Exception:  # whatever a module raises for what it is not made for
            return False
        return True

    def _outputs(self) -> tuple[TensorSpec, ...]:
        """Return the outputs, any size where it is not the same at all that are tried."""
        specs = {spec.name: list(spec.shape) for spec in self.contract.outputs}
        generator = torch.Generator().manual_seed(self.seed)
        for sizes in self.dynamic.tried().values():
            steps = self._filled(self._sized(sizes, generator)[:1])
            if not self._takes(steps):
                continue
            outputs = self.eager(torch.float32)(steps[0].inputs)
            for name, shape in specs.items():
                for axis, size in enumerate(outputs[name].shape):
                    if size != shape[axis]:
                        shape[axis] = DynamicSize(name=f"{name}_{axis}", maximum=LARGEST)
        return tuple(
            spec.model_copy(update={"shape": tuple(specs[spec.name])})
            for spec in self.contract.outputs
        )

    def _read(self, case: str, given: Inputs | Sequence[Inputs]) -> list[Step]:
        """Return the steps of a case of the user's own, of any size within the bounds."""
        found = []
        for number, inputs in enumerate(given if isinstance(given, list) else [given]):
            where = f"cases: {case!r}, step {number}"
            tensors, _ = flatten_inputs(self.given, inputs, where)
            shapes = self.dynamic.shapes(self.dynamic.sizes_of({**self.example, **tensors}, where))
            for name, like in self.example.items():
                one = tensors.get(name)
                if one is None or (tuple(one.shape), one.dtype) != (shapes[name], like.dtype):
                    raise OptionError(
                        f"{where}: {name} must be {like.dtype} {shapes[name]} by the sizes of "
                        f"dynamic_shapes, got {'none' if one is None else (one.dtype, one.shape)}."
                    )
            kept = self.example.keys() - (self.carried if number else set())
            found.append(Step({name: tensors[name] for name in self.example if name in kept}))
        return found
