"""Files of half precision, of a module in float32 or in half."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from deploy_bias.errors import OptionError
from deploy_bias.testing import Artifact, ParityError, assert_export_parity
from tests.export.testing.artifacts import files
from tests.export.testing.artifacts.files import EXAMPLE, STATE, step
from tests.export.testing.artifacts.test_faulty_files import faulty

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
OPTIONS = {"state": STATE, "steps": 2}
BY_HALVES = ["step.onnx", "within.onnx", "step.pte", "step.pt", "step.pt2"]


def half(module, precision):
    return module.to(DTYPES[precision]), tuple(x.to(DTYPES[precision]) for x in EXAMPLE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A file of each kind, and one that has float32 at its door."""
    folder = tmp_path_factory.mktemp("halves")
    for precision in DTYPES:
        module, example = half(step(), precision)
        (folder / precision).mkdir()
        files.write_pte(module, folder / precision / "step.pte", example=example)
        files.write_pt2(module, folder / precision / "step.pt2", example=example)
        torch.jit.trace(module, example).save(folder / precision / "step.pt")
        files.write_onnx(module, folder / precision / "step.onnx", example=example)
    model = onnx.load(folder / "fp16" / "step.onnx")
    _float32_at_the_door(model.graph)
    onnx.save(model, folder / "fp16" / "within.onnx")
    return folder


def _float32_at_the_door(graph):
    for value in graph.input:
        name = f"{value.name}_half"
        for node in graph.node:
            node.input[:] = [name if one == value.name else one for one in node.input]
        cast = helper.make_node("Cast", [value.name], [name], to=TensorProto.FLOAT16)
        graph.node.insert(0, cast)
    for value in graph.output:
        name = f"{value.name}_half"
        for node in graph.node:
            for side in (node.input, node.output):
                side[:] = [name if one == value.name else one for one in side]
        graph.node.append(helper.make_node("Cast", [name], [value.name], to=TensorProto.FLOAT))
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT


def compare(path, precision="fp16", module=None):
    artifact = Artifact(path, precision=precision)
    (result,) = assert_export_parity(
        module or step(), EXAMPLE, artifacts=[artifact], **OPTIONS
    ).results
    return result


@pytest.mark.parametrize("name", BY_HALVES)
def test_a_float16_file_of_a_float32_module(folder, name):
    result = compare(folder / "fp16" / name)
    assert result.precision == "fp16"
    for case in result.cases:
        if case.case == "example":
            assert 1e-5 < case.budget < 5e-3  # and not that of float32, 1e-7
            assert case.decided == 1


@pytest.mark.parametrize("name", ["step.pte", "step.pt", "step.pt2"])
def test_a_bfloat16_file(folder, name):
    assert compare(folder / "bf16" / name, "bf16").passed
    # Of a module in bfloat16 it needs no word.
    module, example = half(step(), "bf16")
    assert assert_export_parity(
        module, example, artifacts=[folder / "bf16" / name], **OPTIONS
    ).passed


def test_of_a_module_in_half_precision_it_needs_no_word(folder):
    module, example = half(step(), "fp16")
    paths = [folder / "fp16" / name for name in BY_HALVES if name != "within.onnx"]
    assert assert_export_parity(module, example, artifacts=paths, **OPTIONS).passed


def test_what_numpy_does_not_have_is_float32_at_the_door_of_onnx(tmp_path):
    nodes = [helper.make_node("Identity", ["x"], ["output"])]
    ports = [
        [helper.make_tensor_value_info(name, TensorProto.BFLOAT16, [2, 3])]
        for name in ("x", "output")
    ]
    graph = helper.make_graph(nodes, "same", *ports)
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), tmp_path / "same.onnx")

    class Same(torch.nn.Module):
        def forward(self, x):
            return x * 1

    artifact = Artifact(tmp_path / "same.onnx", precision="bf16")
    assert assert_export_parity(Same(), torch.randn(2, 3), artifacts=[artifact]).passed


FAULTS = ["OutputsSwapped", "StateNotCarried", "OneRowForAll", "_no_bias", "_two_units"]


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_all_the_same(name, tmp_path):
    module, example = half(faulty(name), "fp16")
    with torch.no_grad():
        path = files.write_pt2(module, tmp_path / "step.pt2", example=example)
    with pytest.raises(ParityError) as error:
        compare(path)
    assert error.value.report.results[0].problem is None


def test_the_first_wrong_operator_of_a_file(tmp_path):
    module, example = half(faulty("_bias_twice"), "fp16")
    path = files.write_pt2(module, tmp_path / "step.pt2", example=example)
    with pytest.raises(
        ParityError, match=r"first wrong operator: aten.linear.default, aten.linear"
    ):
        compare(path)


def test_brain_floats_are_not_halves(folder):
    with pytest.raises(ParityError):
        compare(folder / "bf16" / "step.pt2", "fp16")


class TestWithoutAWord:
    """It is judged as float32, and says what may be meant."""

    def test_halves_at_the_door(self, folder):
        with pytest.raises(ParityError, match=r"half precision is meant, .* precision='fp16'"):
            compare(folder / "fp16" / "step.onnx", "fp32")

    @pytest.mark.parametrize("name", ["within.onnx", "step.pt2", "step.pt"])
    def test_halves_within(self, folder, name):
        with pytest.raises(ParityError, match="that is meant, say precision='fp16'"):
            compare(folder / "fp16" / name, "fp32")

    def test_another_word(self, folder):
        with pytest.raises(OptionError, match="expected fp32, fp16, bf16, int8, int4, got 'half'"):
            compare(folder / "fp16" / "step.onnx", "half")


def test_a_function_may_give_halves():
    module = step()

    def phone(x, hidden):
        given = module(torch.from_numpy(x), torch.from_numpy(hidden))
        return [array.detach().numpy().astype(np.float16) for array in given]

    assert compare(phone, module=step()).passed
