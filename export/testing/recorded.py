"""Recorded inputs in an .npz: of one case, or of several, of one step each or of more.

Keys: "x" of an input; "CASE/x" where there are several cases; "CASE/STEP/x" where there are several
steps, numbered from 0. Names are those of the module's inputs: windows_0 of a list `windows`.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from deploy_bias.errors import OptionError
from deploy_bias.export.testing.flat import Inputs, flatten_inputs

Recorded = dict[str, list[dict[str, Tensor]]]
"""The inputs of each step of each case, by name."""


def read_recorded(paths: Iterable[Path]) -> Recorded:
    """Read the cases of some files; the single one of a file is called as the file is.

    Raises:
        OptionError: one cannot be read, holds something else than numbers, misses a step, or has a
            case of the same name as another.
    """
    recorded: Recorded = {}
    for path in paths:
        for case, steps in _read(path).items():
            if case in recorded:
                raise OptionError(f"--cases {path}: there is a case {case!r} already; rename one.")
            recorded[case] = steps
    return recorded


def _read(path: Path) -> Recorded:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except (OSError, ValueError, AttributeError, EOFError) as error:
        raise OptionError(
            f"--cases {path}: cannot be read ({error}); expected what numpy.savez writes."
        ) from error
    steps: dict[str, dict[int, dict[str, Tensor]]] = defaultdict(lambda: defaultdict(dict))
    for key, array in arrays.items():
        *front, name = key.split("/")
        case, number = front[0] if front else path.stem, front[1] if len(front) > 1 else "0"
        if len(front) > 2 or not number.isdecimal() or array.dtype.kind not in "biufc":
            raise OptionError(
                f"--cases {path}: {key!r}: expected numbers under NAME, CASE/NAME or "
                f"CASE/STEP/NAME, got {array.dtype}."
            )
        steps[case][int(number)][name] = torch.from_numpy(np.ascontiguousarray(array))
    for case, found in steps.items():
        if missing := [number for number in range(len(found)) if number not in found]:
            raise OptionError(f"--cases {path}: case {case!r} has no step {missing[0]}.")
    if not steps:
        raise OptionError(f"--cases {path}: holds no array.")
    return {case: [found[number] for number in sorted(found)] for case, found in steps.items()}


def as_arguments(module: nn.Module, example: Inputs, recorded: Recorded) -> dict[str, list[Inputs]]:
    """Return recorded cases as a module takes its arguments, nested as in its example.

    What a later step does not record (state, that is carried) is as in the example.

    Raises:
        OptionError: a name is no input, or the first step misses one.
    """
    like, structure = flatten_inputs(module, example, "example_inputs")
    cases = {}
    for case, steps in recorded.items():
        for number, arrays in enumerate(steps):
            unknown = arrays.keys() - like.keys()
            missing = like.keys() - arrays.keys() if number == 0 else set()
            if unknown or missing:
                raise OptionError(
                    f"--cases: {case!r}, step {number}: the module takes {', '.join(like)}, and "
                    f"{', '.join(arrays)} is recorded."
                )
        cases[case] = [_nested({**like, **arrays}, structure) for arrays in steps]
    return cases


def _nested(tensors: Mapping[str, Tensor], structure: Any) -> Inputs:
    arguments, named = pytree.tree_unflatten(list(tensors.values()), structure)
    found: Inputs = named or arguments
    return found
