"""One module, and what scripts of other people make of it."""

from pathlib import Path

import torch
from torch import Tensor, nn


class Step(nn.Module):
    """A step with its state: two inputs that are not alike, two outputs that are."""

    def __init__(self) -> None:
        super().__init__()
        self.inward, self.across = nn.Linear(6, 4), nn.Linear(4, 4)
        self.out = nn.Linear(4, 4)

    def forward(self, x: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        state = torch.tanh(self.inward(x) + self.across(hidden))
        return torch.softmax(self.out(state), 1), state


STATE = {"hidden": "output_1"}
EXAMPLE = (torch.randn(3, 6, generator=torch.Generator().manual_seed(1)), torch.zeros(3, 4))


def step() -> Step:
    torch.manual_seed(0)
    return Step().eval()


def write_onnx(module: nn.Module, path: Path, example=EXAMPLE, **options) -> Path:
    torch.onnx.export(module, example, path, dynamo=True, verbose=False, **options)
    return path


def write_pte(module: nn.Module, path: Path, method: str = "forward", example=EXAMPLE) -> Path:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    programs = {method: torch.export.export(module, example)}
    edge = to_edge_transform_and_lower(programs, partitioner=[XnnpackPartitioner()])
    path.write_bytes(edge.to_executorch().buffer)
    return path


def write_pt(module: nn.Module, path: Path) -> Path:
    torch.jit.script(module).save(path)
    return path


def write_pt2(module: nn.Module, path: Path, example=EXAMPLE) -> Path:
    torch.export.save(torch.export.export(module, example), path)
    return path


def write_aoti(module: nn.Module, path: Path) -> Path:
    program = torch.export.export(module, EXAMPLE)
    torch._inductor.aoti_compile_and_package(program, package_path=str(path))
    return path


def write_xml(onnx: Path, path: Path) -> Path:
    import openvino

    openvino.save_model(openvino.convert_model(onnx), path, compress_to_fp16=False)
    return path
