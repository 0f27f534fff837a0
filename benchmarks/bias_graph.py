"""The exported graph in ExecuTorch: which layout, and how far from a constant matrix.

This decided `toeplitz_by_gather`, its segment of about 128, and that XNNPACK takes no reshape.
"""

import torch
from espnet2.asr_transducer.decoder.modules.mega import positional_bias as espnet
from executorch.extension.pybindings import portable_lib
from executorch.runtime import Runtime
from torch import Tensor, nn

from benchmarks.timing import Row, compare
from deploy_bias import RelativePositionBias
from deploy_bias.export.backends.executorch import lower
from deploy_bias.export.graphs.bias import WindowModule
from deploy_bias.model.bias.toeplitz import toeplitz_by_gather, toeplitz_by_repeat

LENGTH = 2048


class _Constant(nn.Module):
    """The whole matrix as a constant of the graph."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.register_buffer("matrix", matrix)

    def forward(self, scores: Tensor) -> Tensor:
        return scores + self.matrix


class _EspnetGraph(nn.Module):
    """ESPnet's own module, exported as it is."""

    def __init__(self, bias: nn.Module) -> None:
        super().__init__()
        self.bias = bias

    def forward(self, scores: Tensor) -> Tensor:
        return scores + self.bias(LENGTH)


def rows() -> list[Row]:
    portable_lib._unsafe_reset_threadpool(1)
    bias = RelativePositionBias(LENGTH).requires_grad_(False)
    theirs = espnet.RelativePositionBias(LENGTH).requires_grad_(False)
    theirs.load_state_dict(bias.state_dict())
    scores = torch.randn(1, LENGTH, LENGTH)
    expected = scores + bias(LENGTH)
    graphs = {
        "constant matrix": _Constant(bias(LENGTH)),
        "espnet exported": _EspnetGraph(theirs),
        "by repeat": WindowModule(bias, LENGTH, LENGTH, toeplitz_by_repeat),
        "ours": WindowModule(bias, LENGTH, LENGTH, toeplitz_by_gather),
    }
    files, methods = {}, {}
    for name, graph in graphs.items():
        programs = {"forward": torch.export.export(graph.eval(), (scores,))}
        files[name] = lower(programs, {}, {"forward": ["view_copy.default"]}).to_executorch().buffer
        methods[name] = Runtime.get().load_program(files[name]).load_method("forward")
        assert torch.equal(methods[name].execute([scores])[0], expected), name
    candidates = {name: lambda m=method: m.execute([scores]) for name, method in methods.items()}
    title = f"bias graph {LENGTH} x {LENGTH}, ExecuTorch"
    share = len(files["ours"]) / len(files["constant matrix"])
    rows = [
        compare(
            f"{title}, over a constant matrix",
            candidates,
            ("ours", "constant matrix"),
            at_most=1.3,
            rounds=61,
            notes={f"{name}, bytes": len(data) for name, data in files.items()},
        ),
        compare(
            f"{title}, ESPnet's own over ours",
            candidates,
            ("espnet exported", "ours"),
            at_least=1.0,
        ),
    ]
    return [
        *rows,
        Row(
            "file over the constant matrix's", {}, ("ours", "constant matrix"), share, at_most=0.01
        ),
    ]
