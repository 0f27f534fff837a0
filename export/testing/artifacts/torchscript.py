"""TorchScript, traced or scripted."""

from typing import Any

import torch

from deploy_bias.export.testing.artifacts import Artifact, File
from deploy_bias.export.testing.artifacts.torch_module import file_of
from deploy_bias.export.testing.module_graph import ModuleGraph

PACKAGE = "torch"


def open_file(artifact: Artifact, graph: ModuleGraph) -> File:
    """Load an archive; it runs as it is, without what its optimiser compiles in the first calls."""
    module = torch.jit.load(str(artifact.source), map_location="cpu")

    def call(*arguments: Any, **named: Any) -> Any:
        with torch.jit.optimized_execution(False):
            return module(*arguments, **named)

    return file_of(call, graph)
