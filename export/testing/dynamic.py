"""Dynamic shapes as torch.export has them: which sizes an input may have, and which are tried."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.export import Dim
from torch.utils import _pytree as pytree

from deploy_bias.bundle.contract import DynamicSize, TensorSpec
from deploy_bias.errors import OptionError
from deploy_bias.export.testing.flat import Structure

LARGEST = 2**31 - 1
Sizes = dict[str, int]
"""The size of each dimension that is chosen, by its name."""


@dataclass(frozen=True)
class Axis:
    """A dynamic dimension of an input: `factor` times a chosen size, and `more`.

    dim: as it was given, for torch.export.
    """

    root: str
    factor: int
    more: int
    dim: Any

    def size(self, sizes: Sizes) -> int:
        """Return its size."""
        return self.factor * sizes[self.root] + self.more


class DynamicShapes:
    """The dynamic dimensions of some inputs.

    Args:
        module: whose `forward` takes them.
        given: as torch.export takes it: by the names of the arguments, or in their order; of each
            tensor a dict by axis or a row of `Dim`, `Dim.DYNAMIC`, `Dim.AUTO` or None.
        example: the inputs by name.
        structure: how they are nested.

    Attributes:
        axes: by input and axis.

    Raises:
        OptionError: it is none, or the example is out of its bounds.
    """

    def __init__(
        self, module: nn.Module, given: Any, example: Mapping[str, Tensor], structure: Structure
    ) -> None:
        self.example = example
        self._bounds: dict[str, tuple[int, int | None]] = {}
        self._hints: dict[int, str] = {}
        arguments, named = pytree.tree_unflatten(list(example), structure)
        bound = inspect.signature(module.forward).bind(*arguments, **named).arguments
        if isinstance(given, tuple | list):
            if len(given) != len(bound):
                raise OptionError(
                    f"dynamic_shapes: expected {len(bound)}, for {', '.join(bound)}, got "
                    f"{len(given)}."
                )
            given = dict(zip(bound, given, strict=True))
        if not isinstance(given, Mapping) or (unknown := given.keys() - bound.keys()):
            got = ", ".join(map(repr, unknown)) if isinstance(given, Mapping) else repr(given)
            raise OptionError(
                f"dynamic_shapes: expected a dict of {', '.join(bound)} as torch.export takes it, "
                f"got {got}."
            )
        self.axes: dict[str, dict[int, Axis]] = {name: {} for name in example}
        for name, spec in given.items():
            self._add(name, bound[name], spec)
        if not any(self.axes.values()):
            raise OptionError("dynamic_shapes: no dimension is dynamic; leave it out.")
        self.roots = list(self._bounds)
        self._check_example()

    def for_export(self) -> Any:
        """Return what `torch.export.export` takes for a module of `*tensors`."""
        row = [{axis: one.dim for axis, one in axes.items()} for axes in self.axes.values()]
        return (tuple(shape or None for shape in row),)

    def spec(self, spec: TensorSpec) -> TensorSpec:
        """Return an input of a contract with its dynamic sizes."""
        shape = list(spec.shape)
        for axis, one in self.axes[spec.name].items():
            least, greatest = self._bounds[one.root]
            low = Sizes({one.root: max(least, 1)})
            high = LARGEST if greatest is None else one.size({one.root: greatest})
            name = one.root if (one.factor, one.more) == (1, 0) else str(one.dim)
            shape[axis] = DynamicSize(name=name, minimum=max(one.size(low), 1), maximum=high)
        return spec.model_copy(update={"shape": tuple(shape)})

    def shapes(self, sizes: Sizes) -> dict[str, tuple[int, ...]]:
        """Return the shapes of all inputs."""
        found = {}
        for name, tensor in self.example.items():
            shape = list(tensor.shape)
            for axis, one in self.axes[name].items():
                shape[axis] = one.size(sizes)
            found[name] = tuple(shape)
        return found

    def sizes_of(self, tensors: Mapping[str, Tensor], where: str) -> Sizes:
        """Return the chosen sizes of some inputs.

        Raises:
            OptionError: they are out of bounds, or do not fit each other.
        """
        sizes: Sizes = {}
        for name, axes in self.axes.items():
            for axis, one in axes.items():
                if name in tensors and axis < tensors[name].ndim:
                    sizes.setdefault(one.root, (tensors[name].shape[axis] - one.more) // one.factor)
        for root, size in sizes.items():
            least, greatest = self._bounds[root]
            if size < least or (greatest is not None and size > greatest):
                raise OptionError(
                    f"{where}: {root} is {size}, and dynamic_shapes says {least} to "
                    f"{'any' if greatest is None else greatest}."
                )
        return sizes

    def tried(self) -> dict[str, Sizes]:
        """Return the sizes to try, by what they are."""
        example = self.sizes_of(self.example, "example_inputs")
        least = {root: max(low, 1) for root, (low, _) in self._bounds.items()}
        greatest = {
            root: 2 * example[root] + 1 if high is None else high
            for root, (_, high) in self._bounds.items()
        }
        found = {"the least sizes": least, "the greatest sizes": greatest}
        odd = {}
        for number, root in enumerate(self.roots):
            # Another for each, so that axes that are mixed up show.
            size = ((least[root] + greatest[root]) // 2 + 2 * number) | 1
            odd[root] = min(max(size, least[root]), greatest[root])
        found["odd sizes"] = odd
        if len(self.roots) > 1:
            for root in self.roots:
                found[f"the least {root}"] = {**greatest, root: least[root]}
        return {
            name: sizes
            for number, (name, sizes) in enumerate(found.items())
            if sizes not in list(found.values())[:number]
        }

    def _add(self, name: str, argument: Any, spec: Any) -> None:
        """Read what is said of an argument; tensors in it are nested as in the example."""
        if spec is None:
            return
        if isinstance(argument, str):  # a tensor: its flat name
            self._add_tensor(argument, spec)
            return
        pairs: Any = None
        if isinstance(argument, Mapping) and isinstance(spec, Mapping):
            if spec.keys() <= argument.keys():
                pairs = [(argument[key], spec[key]) for key in spec]
        elif isinstance(spec, tuple | list) and len(spec) == len(argument):
            pairs = zip(argument, spec, strict=True)
        if pairs is None:
            raise OptionError(f"dynamic_shapes: {name} must be nested as the example is.")
        for inner, one in pairs:
            self._add(name, inner, one)

    def _add_tensor(self, name: str, spec: Any) -> None:
        rank = self.example[name].ndim
        if isinstance(spec, tuple | list) and len(spec) == rank:
            spec = dict(enumerate(spec))
        if not isinstance(spec, Mapping) or not all(axis in range(rank) for axis in spec):
            raise OptionError(
                f"dynamic_shapes: {name}: expected a dict by axis (0 to {rank - 1}) or {rank} "
                f"dimensions, got {spec!r}."
            )
        for axis, dim in spec.items():
            if dim is not None and not isinstance(dim, int) and dim is not Dim.STATIC:
                self.axes[name][axis] = self._axis(name, axis, dim)

    def _axis(self, name: str, axis: int, dim: Any) -> Axis:
        """Return a dimension. Hints have no name: those of one size in the example are one."""
        root = getattr(dim, "root", dim)
        if isinstance(dim, Dim):
            least, greatest = getattr(root, "min", None), getattr(root, "max", None)
            if isinstance(least, int):
                top = greatest if isinstance(greatest, int) else None
                self._bounds[root.__name__] = (max(least, 0), top)
                more = dim.fn(0) if root is not dim else 0  # type: ignore[attr-defined]
                factor = dim.fn(1) - more if root is not dim else 1  # type: ignore[attr-defined]
                return Axis(root.__name__, int(factor), int(more), dim)
        if type(dim) is type(Dim.AUTO):
            size = self.example[name].shape[axis]
            root = self._hints.setdefault(size, f"{name}_{axis}")
            least, greatest = self._bounds.get(root, (0, None))
            tops = [top for top in (greatest, dim.max) if top is not None]
            self._bounds[root] = (max(least, dim.min or 0), min(tops, default=None))
            return Axis(root, 1, 0, dim)
        raise OptionError(
            f"dynamic_shapes: {name}: expected a torch.export.Dim, Dim.DYNAMIC, Dim.AUTO or None, "
            f"got {dim!r}."
        )

    def _check_example(self) -> None:
        sizes = self.sizes_of(self.example, "example_inputs")
        for name, shape in self.shapes(sizes).items():
            if shape != tuple(self.example[name].shape):
                raise OptionError(
                    f"dynamic_shapes: {name} would be {shape}, and is "
                    f"{tuple(self.example[name].shape)} in the example."
                )
