"""The first wrong operator: of public bugs that still stand, and of files with a fault."""

import inspect
import math
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn import functional as F

from deploy_bias.export.testing.operators import _source
from deploy_bias.testing import Artifact, ParityError, assert_export_parity
from tests.export.testing.artifacts import files
from tests.export.testing.artifacts.files import EXAMPLE, STATE, step


def wrong(module, *inputs, output="output", **options):
    """The first wrong operator of an output."""
    with pytest.raises(ParityError) as error:
        assert_export_parity(module, inputs, **options)
    (result,) = error.value.report.results
    found = next(case.wrong for case in result.cases if case.output == output and case.wrong)
    assert found.source in str(error.value)
    assert found.within in str(error.value)
    return found


class Nearest(nn.Module):
    """onnxruntime#12098: another pixel."""

    def forward(self, x):
        y = F.interpolate(x * 2, size=[64], mode="nearest")
        return torch.tanh(y)


class Gelu(nn.Module):
    """XNNPACK's gelu does not take approximate="tanh" (executorch#22851 mends it)."""

    def __init__(self):
        super().__init__()
        self.before, self.after = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        x = self.before(x)
        x = F.gelu(x, approximate="tanh")
        return self.after(x)


class Remainder(nn.Module):
    """ExecuTorch's kernel takes the sign of the number and not of the divisor."""

    def forward(self, x):
        y = x + 1
        y = torch.remainder(y, 3)
        return y * 2


class FarRows(nn.Module):
    """executorch#16712: a layer norm by E[x^2] - E[x]^2, which cancels far from zero."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(64)

    def forward(self, x):
        return self.norm(x + 1000)


def line_of(kind, code):
    """Where a line stands, as the report says it."""
    lines, first = inspect.getsourcelines(kind)
    (number,) = (first + i for i, line in enumerate(lines) if line.strip() == code)
    return f"{__file__}:{number}: {code}"


class TestPublicBugs:
    def test_a_kernel_of_onnx_runtime(self):
        found = wrong(Nearest(), torch.randn(1, 1, 26), backends=["onnx"])
        assert found.operator == "aten.upsample_nearest1d.vec"
        assert found.within == "Resize of ONNX"
        assert found.source == line_of(
            Nearest, 'y = F.interpolate(x * 2, size=[64], mode="nearest")'
        )
        assert {"got", "eager", "float64", "index"} <= found.worst.keys()

    def test_an_operator_inside_a_delegate(self):
        torch.manual_seed(0)
        found = wrong(Gelu(), torch.randn(2, 6), backends=["executorch"])
        assert found.operator == "aten.gelu.default"
        assert found.within == "aten.gelu.default of the XNNPACK delegate"
        assert found.source == line_of(Gelu, 'x = F.gelu(x, approximate="tanh")')

    def test_a_kernel_that_no_delegate_took(self):
        x = torch.arange(-8, 8).reshape(2, 8)
        found = wrong(Remainder(), x, backends=["executorch"])
        assert found.operator == "aten.remainder.Scalar"
        assert found.within.endswith("of ExecuTorch's own kernel, which no delegate took")
        assert found.source == line_of(Remainder, "y = torch.remainder(y, 3)")

    def test_a_norm_of_rows_far_from_zero(self):
        torch.manual_seed(0)
        found = wrong(FarRows(), torch.randn(2, 64), backends=["executorch"])
        assert found.operator == "aten.layer_norm.default"
        assert found.within.endswith("of ExecuTorch's own kernel, which no delegate took")
        assert (found.module, found.source) == (
            "norm (LayerNorm)",
            line_of(FarRows, "return self.norm(x + 1000)"),
        )


NAMES = {"output_0": "softmax", "output_1": "tanh"}


class TestFiles:
    """By the values between, whatever the file calls them."""

    @pytest.fixture(scope="class")
    def sound(self, tmp_path_factory):
        return onnx.load(files.write_onnx(step(), tmp_path_factory.mktemp("sound") / "s.onnx"))

    @pytest.fixture
    def edited(self, sound, tmp_path):
        def edit(change):
            model = onnx.ModelProto()
            model.CopyFrom(sound)
            change(model.graph)
            for node in model.graph.node:
                node.name = ""
                del node.metadata_props[:]
            onnx.save(model, tmp_path / "edited.onnx")
            return Artifact(tmp_path / "edited.onnx", outputs=NAMES)

        return edit

    def test_a_wrong_weight(self, edited):
        def change(graph):
            (weight,) = (w for w in graph.initializer if w.name == "across.weight")
            array = numpy_helper.to_array(weight).copy()
            array[1, 2] *= 1.1
            weight.CopyFrom(numpy_helper.from_array(array, weight.name))

        # Of the example the state is zero: the weight counts from the second step on.
        options = {"state": STATE, "steps": 2, "artifacts": [edited(change)]}
        found = wrong(step(), *EXAMPLE, output="output_1", **options)
        assert found.operator == "aten.linear.default"
        assert found.within.startswith("Gemm")
        assert found.module == "across (Linear)"
        assert "self.across(hidden)" in found.source

    def test_an_operator_that_is_another(self, edited):
        def change(graph):
            (node,) = (n for n in graph.node if n.op_type == "Tanh")
            node.op_type = "Softsign"

        options = {"state": STATE, "steps": 2, "artifacts": [edited(change)]}
        found = wrong(step(), *EXAMPLE, output="output_0", **options)
        assert (found.operator, found.within) == ("aten.tanh.default", "Softsign of the file")
        got = float(found.worst["got"])
        exact = math.atanh(float(found.worst["float64"]))
        assert np.isclose(got, exact / (1 + abs(exact)), rtol=1e-5)


@pytest.fixture(scope="module")
def biased(tmp_path_factory):
    """A file of each kind, of the module with a bias doubled."""
    folder, module = tmp_path_factory.mktemp("biased"), step()
    with torch.no_grad():
        module.out.bias.mul_(2)
    files.write_pt(module, folder / "step.pt")
    files.write_pt2(module, folder / "step.pt2")
    files.write_xml(files.write_onnx(module, folder / "step.onnx"), folder / "step.xml")
    return folder


@pytest.mark.parametrize(
    ("name", "within"),
    [
        ("step.pt", "aten::linear of the file"),
        ("step.pt2", "aten.linear.default of the file"),
        ("step.onnx", "Gemm node_linear_2 of the file"),
        ("step.xml", "MatMul of the file"),
    ],
)
def test_what_can_be_looked_into(biased, name, within):
    artifact = Artifact(biased / name, outputs=NAMES if name.endswith("xml") else {})
    options = {"state": STATE, "steps": 2, "artifacts": [artifact]}
    found = wrong(step(), *EXAMPLE, output="output_0", **options)
    assert (found.operator, found.module, found.within) == (
        "aten.linear.default",
        "out (Linear)",
        within,
    )


def test_a_program_of_executorch_by_our_own_export(tmp_path):
    torch.manual_seed(0)
    from executorch.exir import to_edge_transform_and_lower

    x = torch.arange(-8, 8).reshape(2, 8)
    program = to_edge_transform_and_lower(torch.export.export(Remainder(), (x,)))
    (tmp_path / "remainder.pte").write_bytes(program.to_executorch().buffer)
    found = wrong(Remainder(), x, artifacts=[tmp_path / "remainder.pte"])
    assert found.operator == "aten.remainder.Scalar"


def test_what_is_right_where_every_value_is_asked_for(monkeypatch, tmp_path):
    from deploy_bias.export.testing.artifacts import onnx as reader

    path = files.write_onnx(step(), tmp_path / "step.onnx")
    opened = reader.open_file

    def fused(artifact, graph):
        """As a fusion of the runtime that computes something else."""
        file = opened(artifact, graph)
        return replace(file, run=lambda arrays: [x * np.float32(1.1) for x in file.run(arrays)])

    monkeypatch.setattr(reader, "open_file", fused)
    with pytest.raises(
        ParityError, match=r"first wrong in the file .* the file unoptimised"
    ) as error:
        assert_export_parity(step(), EXAMPLE, artifacts=[path], state=STATE, steps=2)
    assert "not found, right where every value is asked for" in str(error.value)


def test_a_line_that_has_no_source_is_told_by_its_number():
    trace = 'File "<stdin>", line 6, in forward\n  File "m.py", line 2, in forward\n    y = f(x)'
    assert _source(trace) == "m.py:2: y = f(x)"
    assert _source('File "<stdin>", line 6, in forward') == "<stdin>:6: ?"


def test_a_function_has_no_operators():
    def zeros(x, hidden):
        return np.zeros((3, 4), np.float32), np.zeros((3, 4), np.float32)

    with pytest.raises(ParityError) as error:
        assert_export_parity(step(), EXAMPLE, artifacts=[zeros], state=STATE, steps=2)
    (result,) = error.value.report.results
    assert not any(case.wrong for case in result.cases)
