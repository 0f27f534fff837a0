""".pt2: a program of torch.export, or what AOTInductor compiled of one."""

import zipfile

import torch

from deploy_bias.export.testing.artifacts import Artifact, File
from deploy_bias.export.testing.artifacts.torch_module import file_of
from deploy_bias.export.testing.module_graph import ModuleGraph

PACKAGE = "torch"


def open_file(artifact: Artifact, graph: ModuleGraph) -> File:
    """Load the compiled library that a package holds, or else the program."""
    path = str(artifact.source)
    with zipfile.ZipFile(path) as package:
        compiled = any("/data/aotinductor/" in name for name in package.namelist())
    if compiled:
        return file_of(torch._inductor.aoti_load_package(path), graph)
    program = torch.export.load(path)
    _, named = program.call_spec.in_spec.children()
    return file_of(program.module(), graph, named.context or ())
