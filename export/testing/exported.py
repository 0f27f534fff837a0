"""Export a module to a backend in memory, and load it there."""

import hashlib

import torch

import deploy_bias
from deploy_bias.bundle.manifest import Label, Operators
from deploy_bias.export.backends import exporter
from deploy_bias.export.testing.module_graph import ModuleGraph
from deploy_bias.runtime import Graph
from deploy_bias.runtime.backends import open_session


def export_module(graph: ModuleGraph, backend: str) -> tuple[Graph, dict[str, Operators]]:
    """Return a module on a backend, and the operators of its artifact."""
    label = Label(
        exporter={"deploy_bias": deploy_bias.__version__},
        weights_sha256=_sha256(graph),
        precision="fp32",
        graphs=(graph.contract,),
    )
    (exported,) = exporter(backend).export([graph], "fp32", lambda graphs: label)
    session = open_session(backend, exported.data, exported.path)
    return Graph(graph.contract, session), exported.operators


def _sha256(graph: ModuleGraph) -> str:
    hashed = hashlib.sha256()
    for name, tensor in graph.eager_module.state_dict().items():
        hashed.update(name.encode())
        hashed.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return hashed.hexdigest()
