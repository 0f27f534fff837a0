"""Known-bad files: none is green, whatever the fault and the kind of file."""

import re

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from deploy_bias.testing import Artifact, ParityError, assert_export_parity
from tests.export.testing.artifacts import files
from tests.export.testing.artifacts.files import EXAMPLE, STATE, Step, step


def failed(*artifacts, **options):
    wanted = {"state": STATE, "steps": 2, **options}
    with pytest.raises(ParityError) as error:
        assert_export_parity(step(), EXAMPLE, artifacts=artifacts, **wanted)
    assert not any(result.passed for result in error.value.report.results)
    return error.value


# Faults in what was exported, each a change of the sound outputs or the weights.


class OutputsSwapped(Step):
    def forward(self, x, hidden):
        return super().forward(x, hidden)[::-1]


class StateTransposed(Step):
    def forward(self, x, hidden):
        y, state = super().forward(x, hidden)
        return y, state.T.reshape(state.shape)


class StateNotCarried(Step):
    def forward(self, x, hidden):
        return super().forward(x, hidden * 0)


class StateReturnedAsItCame(Step):
    def forward(self, x, hidden):
        return super().forward(x, hidden)[0], hidden + 0.0


class SoftmaxOfTheOtherAxis(Step):
    def forward(self, x, hidden):
        _, state = super().forward(x, hidden)
        return torch.softmax(self.out(state), 0), state


class LogitsForProbabilities(Step):
    def forward(self, x, hidden):
        _, state = super().forward(x, hidden)
        return self.out(state), state


class ActivationLeftOut(Step):
    def forward(self, x, hidden):
        state = self.inward(x) + self.across(hidden)
        return torch.softmax(self.out(state), 1), state


class OneRowForAll(Step):
    def forward(self, x, hidden):
        return super().forward(x[:1].expand(3, 6), hidden)


class RowsReversed(Step):
    def forward(self, x, hidden):
        y, state = super().forward(x, hidden)
        return y.flip(0), state


class InputsClipped(Step):
    def forward(self, x, hidden):
        return super().forward(x.clamp(-4, 4), hidden)


class OutputsRounded(Step):
    def forward(self, x, hidden):
        y, state = super().forward(x, hidden)
        return (y * 1000).round() / 1000, state


class HalfInTheMiddle(Step):
    def forward(self, x, hidden):
        y, state = super().forward(x.half().float(), hidden)
        return y, state


class NothingWhereAllIsZero(Step):
    def forward(self, x, hidden):
        y, state = super().forward(x, hidden)
        return torch.where((x == 0).all(), torch.nan, y), state


class SmallInputsFlushed(Step):
    def forward(self, x, hidden):
        return super().forward(torch.where(x.abs() < 0.05, 0.0, x), hidden)


class ExampleBakedIn(Step):
    def forward(self, x, hidden):
        y, state = super().forward(EXAMPLE[0], hidden)
        return y + 0 * x.sum(), state


def _one_weight(module):
    module.across.weight[1, 2] *= 1.01


def _no_bias(module):
    module.inward.bias.zero_()


def _transposed(module):
    module.across.weight.copy_(module.across.weight.T.clone())


def _bias_twice(module):
    module.out.bias.mul_(2)


def _two_units(module):
    module.out.weight[:2] = module.out.weight[:2].flip(0).clone()


def _other_weights(module):
    torch.manual_seed(1)
    module.load_state_dict(Step().state_dict())


def _brain_float(module):
    for weight in module.parameters():
        weight.copy_(weight.bfloat16().float())


def _eight_bits(module):
    for weight in module.parameters():
        scale = weight.abs().max() / 127
        weight.copy_((weight / scale).round() * scale)


FAULTS = {
    **{
        kind.__name__: kind
        for kind in (
            OutputsSwapped,
            StateTransposed,
            StateNotCarried,
            StateReturnedAsItCame,
            SoftmaxOfTheOtherAxis,
            LogitsForProbabilities,
            ActivationLeftOut,
            OneRowForAll,
            RowsReversed,
            InputsClipped,
            OutputsRounded,
            HalfInTheMiddle,
            NothingWhereAllIsZero,
            SmallInputsFlushed,
            ExampleBakedIn,
        )
    },
    **{
        change.__name__: change
        for change in (
            _one_weight,
            _no_bias,
            _transposed,
            _bias_twice,
            _two_units,
            _other_weights,
            _brain_float,
            _eight_bits,
        )
    },
}


def faulty(name):
    module, fault = step(), FAULTS[name]
    if isinstance(fault, type):
        module.__class__ = fault
    else:
        with torch.no_grad():
            fault(module)
    return module


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_in_what_was_exported(name, tmp_path):
    error = failed(files.write_pt2(faulty(name), tmp_path / "step.pt2"))
    assert "first wrong in the file (" in str(error)  # eager is right


def test_a_wrong_weight_in_each_kind_of_file(tmp_path):
    module = faulty("_one_weight")
    paths = [
        files.write_onnx(module, tmp_path / "step.onnx"),
        files.write_pte(module, tmp_path / "step.pte"),
        files.write_pt(module, tmp_path / "step.pt"),
    ]
    xml = files.write_xml(paths[0], tmp_path / "step.xml")
    names = {"output_0": "softmax", "output_1": "tanh"}
    error = failed(*paths, Artifact(xml, outputs=names))
    for result in error.report.results:
        assert result.problem is None  # each was compared


# Faults of the file itself.


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return onnx.load(files.write_onnx(step(), tmp_path_factory.mktemp("sound") / "step.onnx"))


@pytest.fixture
def edited(sound, tmp_path):
    def edit(change):
        model = onnx.ModelProto()
        model.CopyFrom(sound)
        change(model.graph)
        onnx.save(model, tmp_path / "edited.onnx")
        return tmp_path / "edited.onnx"

    return edit


def _outputs(graph):
    return {value.name: value for value in graph.output}


def _without_an_output(graph):
    graph.output.remove(_outputs(graph)["tanh"])


def _with_an_output_more(graph):
    graph.output.append(helper.make_tensor_value_info("val_0", TensorProto.FLOAT, None))
    graph.node.append(helper.make_node("Identity", ["tanh"], ["val_0"]))


def _with_an_input_more(graph):
    graph.input.append(helper.make_tensor_value_info("length", TensorProto.INT64, [1]))


def _of_another_batch(graph):
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 5


def _of_double(graph):
    graph.node.append(helper.make_node("Cast", ["softmax"], ["double"], to=TensorProto.DOUBLE))
    graph.output[0].CopyFrom(helper.make_tensor_value_info("double", TensorProto.DOUBLE, [3, 4]))


def _with_a_row_less(graph):
    for name, row in (("starts", 0), ("ends", 2)):
        graph.initializer.append(numpy_helper.from_array(np.array([row]), name))
    graph.node.append(helper.make_node("Slice", ["softmax", "starts", "ends"], ["cut"]))
    graph.output[0].CopyFrom(helper.make_tensor_value_info("cut", TensorProto.FLOAT, None))


def _with_integers_for_numbers(graph):
    graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    graph.node.insert(0, helper.make_node("Cast", ["x"], ["x_float"], to=TensorProto.FLOAT))
    for node in graph.node[1:]:
        node.input[:] = ["x_float" if name == "x" else name for name in node.input]


INTERFACES = {
    _without_an_output: "it gives 1 output, and the module 2: output_0 (float32, (3, 4)), output_1",
    _with_an_output_more: "it gives 3 outputs, and the module 2",
    _with_an_input_more: "it takes length besides, which the module does not",
    _of_another_batch: "its input x (float32, (5, 6)) differs from the module's x (float32, (3, 6",
    _of_double: "its output double (float64, (3, 4)) differs from the module's output_0 (float32",
    _with_a_row_less: "its output cut (float32, (2, 4)) differs from the module's output_0 (float3",
    _with_integers_for_numbers: "its input x (int64, (3, 6)) differs from the module's x (float32",
}


@pytest.mark.parametrize("change", INTERFACES, ids=lambda change: change.__name__)
def test_what_is_no_export_of_the_module_says_so_first(change, edited):
    error = failed(edited(change))
    (result,) = error.report.results
    assert result.problem.startswith(f"is no export of this module: {INTERFACES[change]}")
    assert not result.cases


def _halves(graph):
    """float16 within, float32 outside, as converters leave it."""
    for tensor in graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32:
            tensor.CopyFrom(numpy_helper.from_array(array.astype(np.float16), tensor.name))
    nodes = list(graph.node)
    del graph.node[:]
    for value in graph.input:
        half = f"{value.name}_half"
        graph.node.append(helper.make_node("Cast", [value.name], [half], to=TensorProto.FLOAT16))
        for node in nodes:
            node.input[:] = [half if name == value.name else name for name in node.input]
    names = {value.name for value in graph.output}
    for node in nodes:
        for side in (node.input, node.output):
            side[:] = [f"{name}_half" if name in names else name for name in side]
    graph.node.extend(nodes)
    for name in sorted(names):
        graph.node.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
    del graph.value_info[:]


def test_half_precision_is_not_float32(edited):
    (result,) = failed(edited(_halves)).report.results
    assert result.problem is None


def test_weights_of_eight_bits_are_not_float32(edited, tmp_path):
    from onnxruntime.quantization import quantize_dynamic

    path = tmp_path / "int8.onnx"
    quantize_dynamic(edited(lambda graph: graph.ClearField("value_info")), path)
    names = {"output_0": "softmax", "output_1": "tanh"}
    (result,) = failed(Artifact(path, outputs=names)).report.results
    assert result.problem is None
    # By the distance of the module quantised in eager it is right; and not of other weights.
    artifact = Artifact(path, outputs=names, precision="int8")
    options = {"artifacts": [artifact], "state": STATE, "steps": 2}
    (result,) = assert_export_parity(step(), EXAMPLE, **options).results
    assert result.precision == "int8"
    assert 0.001 < result.agreement.distance <= result.agreement.limit
    with pytest.raises(ParityError, match=r"output_\d \d+.\d\d% off, at most \d.\d\d% allowed"):
        assert_export_parity(faulty("_two_units"), EXAMPLE, **options)


@pytest.mark.parametrize("inputs", [1, 64])
def test_ranges_that_were_calibrated_with_too_few_inputs_are_named(inputs, edited, tmp_path):
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    class Inputs(CalibrationDataReader):
        def __init__(self):
            draw = torch.Generator().manual_seed(inputs)
            shapes = {name: x.shape for name, x in zip(("x", "hidden"), EXAMPLE, strict=True)}
            self.left = [
                {name: torch.randn(s, generator=draw).numpy() for name, s in shapes.items()}
                for _ in range(inputs)
            ]

        def get_next(self):
            return self.left.pop() if self.left else None

    path = tmp_path / "static.onnx"
    quantize_static(edited(lambda graph: graph.ClearField("value_info")), path, Inputs())
    artifact = Artifact(path, outputs={"output_0": "softmax", "output_1": "tanh"}, precision="int8")
    if inputs == 64:
        assert assert_export_parity(step(), EXAMPLE, artifacts=[artifact]).passed
    else:
        error = failed(artifact, state={}, steps=None)
        assert re.search("(x|hidden|linear|tanh).* is .* and is cut off at ", str(error))


def test_what_only_a_run_shows():
    def narrow(x, hidden):
        return np.zeros((3, 4), np.float32), np.zeros((3, 5), np.float64)

    (result,) = failed(narrow).report.results
    assert result.problem == (
        "is no export of this module: its output output_1 (float64, (3, 5)) differs from the "
        "module's output_1 (float32, (3, 4))"
    )


def test_a_sound_copy_passes(edited):
    path = edited(lambda graph: None)
    assert assert_export_parity(step(), EXAMPLE, artifacts=[path], state=STATE, steps=2).passed


def test_beside_a_sound_export_only_the_file_fails(edited):
    path = edited(_of_double)
    with pytest.raises(ParityError) as error:
        assert_export_parity(
            step(), EXAMPLE, backends=["torchscript"], artifacts=[path], state=STATE, steps=2
        )
    assert [result.passed for result in error.value.report.results] == [True, False]
