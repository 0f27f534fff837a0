"""Any function of numpy arrays: a runtime that has no reader here, a phone over the wire."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deploy_bias.errors import OptionError
from deploy_bias.export.testing.artifacts import Artifact, File, Port
from deploy_bias.export.testing.module_graph import ModuleGraph

PACKAGE = "numpy"


def open_file(artifact: Artifact, graph: ModuleGraph) -> File:
    """Return a function that is called with the module's inputs by name, or by its own names."""
    function = artifact.source
    assert callable(function)
    taken = [spec.name for spec in graph.contract.inputs]
    names = [artifact.inputs.get(name, name) for name in taken]
    try:
        inspect.signature(function).bind(**dict.fromkeys(names))
    except ValueError:  # a builtin has no signature: its own error will tell
        pass
    except TypeError as error:
        raise OptionError(
            f"{artifact.name} does not take {', '.join(names)} by name ({error}); an array for "
            "each input of the module is given by its name, or by that of inputs=."
        ) from error
    outputs = [spec.name for spec in graph.contract.outputs]

    def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        given = function(**{name: array.copy() for name, array in zip(names, arrays, strict=True)})
        return _row(artifact, given, outputs)

    return File(tuple(Port(name) for name in names), None, run, in_order=True)


def _row(artifact: Artifact, given: Any, outputs: Sequence[str]) -> list[np.ndarray]:
    """Return what a function gave in the module's order."""
    if isinstance(given, Mapping):
        wanted = {name: artifact.outputs.get(name, name) for name in outputs}
        if missing := [name for name in wanted.values() if name not in given]:
            raise OptionError(
                f"{artifact.name} gives {', '.join(map(str, given))}, and no {missing[0]}; give a "
                f"dict of {', '.join(outputs)}, or say what is what with outputs=."
            )
        extra = [] if artifact.outputs else [name for name in given if name not in wanted]
        return [np.asarray(given[name]) for name in (*wanted.values(), *extra)]
    return [np.asarray(one) for one in (given if isinstance(given, tuple | list) else [given])]
