"""ONNX test data sets, in the layout of ONNX's own model tests."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from deploy_bias.bundle.contract import TensorSpec
from deploy_bias.bundle.manifest import Artifact
from deploy_bias.export.rollout import Outputs

if TYPE_CHECKING:
    from deploy_bias.export.testdata import DataSet


def write(
    output: Path, artifact: Artifact, data: bytes, sets: Mapping[str, Sequence["DataSet"]]
) -> str:
    """Write test_NAME/model.onnx with its data sets beside it; return the model's path.

    Test runners take one tolerance a graph, here the largest: onnx's own from data.json, ONNX
    Runtime's from config.txt.
    """
    name = f"test_{PurePosixPath(artifact.path).stem}"  # onnx's runner wants the prefix
    folder = output / name
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(data)
    (contract,) = artifact.graphs
    for number, found in enumerate(sets[contract.name]):
        inner = folder / f"test_data_set_{number}"
        inner.mkdir()
        _write_tensors(inner, "input", contract.inputs, found.inputs)
        _write_tensors(inner, "output", contract.outputs, found.outputs)
    most = max(value for found in sets[contract.name] for value in found.tolerance.values())
    (folder / "data.json").write_text(f'{{"rtol": 0.0, "atol": {most}}}\n', encoding="utf-8")
    (folder / "config.txt").write_text(
        f"per_sample_tolerance: {most}\nrelative_per_sample_tolerance: 0\n", encoding="utf-8"
    )
    return f"{name}/model.onnx"


def _write_tensors(folder: Path, kind: str, specs: Sequence[TensorSpec], tensors: Outputs) -> None:
    from onnx import numpy_helper

    for number, spec in enumerate(specs):
        tensor = numpy_helper.from_array(tensors[spec.name].numpy(), spec.name)
        (folder / f"{kind}_{number}.pb").write_bytes(tensor.SerializeToString())
