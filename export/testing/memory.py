"""Modules that remember: a buffer that forward changes is state, an input and an output of a graph.

A buffer that forward fills once, as a table for the longest input so far, is no state: it is taken
as the first call leaves it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from deploy_bias.errors import OptionError
from deploy_bias.export.testing.flat import Remembered, Structure

KEYWORD = "remembered"


class Remembering(nn.Module):
    """A module whose state is an argument, `remembered`, and part of the result.

    Args:
        inner: the module; its own buffers stay as they are.
        names: the buffers that are state, by what their graph calls them.
    """

    def __init__(self, inner: nn.Module, names: Mapping[str, str]) -> None:
        super().__init__()
        self.inner = inner
        self.names = dict(names)

    def forward(
        self, *arguments: Any, remembered: Mapping[str, Tensor], **named: Any
    ) -> Remembered:
        """Run the module with other buffers."""
        places = {name: _place(self.inner, path) for name, path in self.names.items()}
        before = {name: owner[leaf] for name, (owner, leaf) in places.items()}
        for name, (owner, leaf) in places.items():
            owner[leaf] = remembered[name].clone()
        try:
            result = self.inner(*arguments, **named)
            after = {name: owner[leaf] for name, (owner, leaf) in places.items()}
        finally:
            for name, (owner, leaf) in places.items():
                owner[leaf] = before[name]
        # A result may be a view of a buffer, and a buffer of an input.
        return Remembered(result, {name: tensor.clone() for name, tensor in after.items()})


def with_memory(
    module: nn.Module, structure: Structure, inputs: Mapping[str, Tensor]
) -> tuple[nn.Module, Structure, dict[str, Tensor]]:
    """Return a module that has no memory, how its arguments are nested, and its first state.

    It is the module itself where forward changes no buffer. The state is called as the buffers are.

    Raises:
        OptionError: a buffer changes its shape or dtype.
    """
    # What is scripted has its buffers where Python cannot set them: the check that follows refuses.
    scripted = isinstance(module, torch.jit.ScriptModule)
    state = {} if scripted else _state_of(module, structure, inputs)
    if not state:
        return module, structure, {}
    names = {_name(path, inputs): path for path in state}
    arguments, named = pytree.tree_unflatten(list(inputs.values()), structure)
    _, whole = pytree.tree_flatten((arguments, {**named, KEYWORD: names}))
    return (
        Remembering(module, names).eval(),
        whole,
        {name: state[path] for name, path in names.items()},
    )


def remember(reference: Any, like: nn.Module) -> Remembering:
    """Return a reference that remembers what a module does.

    Raises:
        OptionError: it is no module with the same buffers.
    """
    assert isinstance(like, Remembering)
    held = dict(reference.named_buffers()) if isinstance(reference, nn.Module) else {}
    if missing := [path for path in like.names.values() if path not in held]:
        raise OptionError(
            f"reference: the module remembers {', '.join(like.names.values())} in its buffers, and "
            f"the reference has no {missing[0]}; give a module that has, or take it as an input "
            "and return it, with state={INPUT: OUTPUT}."
        )
    return Remembering(reference, like.names)


def _state_of(
    module: nn.Module, structure: Structure, inputs: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the first values of the buffers that forward changes; of a table none."""
    first = _buffers(module)
    here = list(inputs.values())
    other = _others(here)
    seen: list[dict[str, Tensor]] = []
    for number, tensors in enumerate((other, here, other, here)):
        if (
            number == 2
            and all(now.keys() == first.keys() for now in seen)
            and not _changes(first, seen)
        ):
            return {}
        if number < 2:  # each for the first time
            _restore(module, first)
        arguments, named = pytree.tree_unflatten([x.clone() for x in tensors], structure)
        try:
            with torch.no_grad():
                module(*arguments, **named)
        except Exception:  # what it raises for the example, the check that follows tells
            continue
        seen.append(_buffers(module))
    changed = _changes(first, seen)
    if all(_same(now.get(name), seen[0].get(name)) for now in seen for name in now):
        return {}
    _restore(module, first)
    for name in {*changed, *(name for now in seen for name in now.keys() - first.keys())}:
        for now in seen:
            if not _alike(first.get(name), now.get(name)):
                raise OptionError(
                    f"forward changes the shape or dtype of the module's own {name}, and a graph "
                    "has fixed ones; take it as an input and return it, with state={INPUT: OUTPUT} "
                    "or, of a window, a deploy_bias.bundle.contract.Append."
                )
    return {name: first[name] for name in changed}


def _changes(first: Mapping[str, Tensor], seen: Sequence[Mapping[str, Tensor]]) -> list[str]:
    return [name for name in first if any(not _same(first[name], now.get(name)) for now in seen)]


def _name(path: str, taken: Mapping[str, Tensor]) -> str:
    name = path.replace(".", "_")
    return f"own_{name}" if name in taken else name


def _others(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return other inputs, that the module may take."""
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(x.shape, generator=generator).to(x.dtype)
        if x.is_floating_point()
        else x.flatten().flip(0).view(x.shape)
        for x in tensors
    ]


def _buffers(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.named_buffers()}


def _restore(module: nn.Module, buffers: Mapping[str, Tensor]) -> None:
    for name, tensor in buffers.items():
        owner, leaf = _place(module, name)
        owner[leaf] = tensor.clone()


def _place(module: nn.Module, name: str) -> tuple[Any, str]:
    """Return where a module has a buffer."""
    path, _, leaf = name.rpartition(".")
    return module.get_submodule(path)._buffers, leaf


def _alike(one: Tensor | None, two: Tensor | None) -> bool:
    return one is not None and two is not None and (one.shape, one.dtype) == (two.shape, two.dtype)


def _same(one: Tensor | None, two: Tensor | None) -> bool:
    if one is None or two is None or not _alike(one, two):
        return one is two
    return torch.equal(one.nan_to_num(), two.nan_to_num())
