"""Files that somebody else made: the good ones pass, on every kind of file."""

import numpy as np
import onnx
import pytest
import torch

from deploy_bias.errors import OptionError
from deploy_bias.testing import Artifact, ParityError, assert_export_parity
from tests.export.testing.artifacts import files
from tests.export.testing.artifacts.files import EXAMPLE, STATE, step

XML = {"outputs": {"output_0": "softmax", "output_1": "tanh"}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A file of each kind."""
    folder, module = tmp_path_factory.mktemp("artifacts"), step()
    files.write_onnx(module, folder / "step.onnx")
    files.write_onnx(module, folder / "old.onnx", opset_version=18)
    files.write_pte(module, folder / "step.pte", "run")
    files.write_pt(module, folder / "step.pt")
    files.write_pt2(module, folder / "step.pt2")
    files.write_aoti(module, folder / "compiled.pt2")
    files.write_xml(folder / "step.onnx", folder / "step.xml")
    return folder


def compare(*artifacts, **options):
    wanted = {"state": STATE, "steps": 2, **options}
    return assert_export_parity(step(), EXAMPLE, artifacts=artifacts, **wanted)


def problem(*artifacts):
    with pytest.raises(ParityError) as error:
        compare(*artifacts)
    (result,) = error.value.report.results
    return result.problem


def function(x, hidden):
    """The step in numpy."""
    w = {name: tensor.numpy() for name, tensor in step().state_dict().items()}
    a = x @ w["inward.weight"].T + w["inward.bias"]
    state = np.tanh(a + hidden @ w["across.weight"].T + w["across.bias"])
    e = np.exp(state @ w["out.weight"].T + w["out.bias"])
    return {"output_1": state, "output_0": e / e.sum(1, keepdims=True)}


def test_a_file_of_each_kind_beside_our_own_export(folder):
    names = ["step.onnx", "old.onnx", "step.pte", "step.pt", "step.pt2", "compiled.pt2"]
    paths = [str(folder / name) for name in names]
    xml = Artifact(folder / "step.xml", **XML)
    report = compare(*paths, xml, function, backends=["torchscript"])
    assert [(result.backend, result.artifact) for result in report.results] == [
        ("torchscript", ""),
        *((path, path) for path in (*paths, str(folder / "step.xml"))),
        ("function", "function"),
    ]
    cases = {frozenset((case.case, case.output) for case in r.cases) for r in report.results}
    assert len(cases) == 1  # the same for each


class TestOnnx:
    def test_weights_in_a_file_beside_it(self, folder, tmp_path):
        model = onnx.load(folder / "step.onnx")
        onnx.save(
            model,
            tmp_path / "step.onnx",
            save_as_external_data=True,
            location="weights.bin",
            size_threshold=0,
        )
        assert (tmp_path / "weights.bin").exists()
        assert compare(tmp_path / "step.onnx").passed

    def test_providers_and_session_options(self, folder):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.optimized_model_filepath = str(folder / "optimised.onnx")
        path = folder / "step.onnx"
        providers = [("CPUExecutionProvider", {})]
        assert compare(Artifact(path, providers=providers, session_options=options)).passed
        assert (folder / "optimised.onnx").exists()  # so they were taken

    def test_a_provider_that_is_not_there(self, folder):
        with pytest.raises(OptionError, match="has no CUDAExecutionProvider, only "):
            compare(Artifact(folder / "step.onnx", providers=["CUDAExecutionProvider"]))


class TestExecuTorch:
    def test_the_method_that_is_asked_for(self, folder):
        assert compare(Artifact(folder / "step.pte", method="run")).passed
        with pytest.raises(OptionError, match="has the methods run; say which"):
            compare(Artifact(folder / "step.pte", method="forward"))


class TestNames:
    @pytest.fixture
    def renamed(self, folder, tmp_path):
        """The file with other names, by another producer."""

        def rename(names, producer="mine"):
            model = onnx.load(folder / "step.onnx")
            model.producer_name = producer
            graph = model.graph
            for value in (*graph.input, *graph.output):
                value.name = names.get(value.name, value.name)
            for node in graph.node:
                for side in (node.input, node.output):
                    side[:] = [names.get(name, name) for name in side]
            onnx.save(model, tmp_path / "renamed.onnx")
            return tmp_path / "renamed.onnx"

        return rename

    def test_what_is_alike_is_asked_for(self, renamed):
        path = renamed({})
        with pytest.raises(OptionError, match="which output is which is not certain") as error:
            compare(path)
        said = "outputs={'output_0': 'softmax', 'output_1': 'tanh'})"
        assert said in str(error.value)
        assert compare(Artifact(path, **XML)).passed

    def test_what_is_not_alike_is_certain(self, renamed):
        assert compare(Artifact(renamed({"x": "a", "hidden": "b"}), **XML)).passed

    def test_equal_names_count_and_not_the_order(self, renamed):
        path = renamed({"softmax": "output_1", "tanh": "output_0"}, "pytorch")
        with pytest.raises(ParityError, match="2 of 2 outputs differ"):
            compare(path)

    def test_torchs_exporters_keep_the_order(self, renamed):
        assert compare(renamed({"softmax": "b", "tanh": "a"}, "pytorch")).passed

    @pytest.mark.parametrize(
        ("maps", "message"),
        [
            ({"inputs": {"y": "x"}}, "the module has no input 'y', only x, hidden"),
            ({"inputs": {"x": "y"}}, "the file has no input 'y', only x, hidden"),
            (
                {"outputs": {"output_0": "tanh", "output_1": "tanh"}},
                "names one of the file's twice",
            ),
        ],
    )
    def test_names_that_are_not_there(self, folder, maps, message):
        with pytest.raises(OptionError, match=message):
            compare(Artifact(folder / "step.onnx", **maps))


class TestFunctions:
    def test_by_its_own_names(self):
        def other(a, b):
            return {"p": function(a, b)["output_0"], "h": function(a, b)["output_1"]}

        maps = {"inputs": {"x": "a", "hidden": "b"}, "outputs": {"output_0": "p", "output_1": "h"}}
        assert compare(Artifact(other, **maps)).passed
        with pytest.raises(OptionError, match="other does not take x, hidden by name"):
            compare(other)
        with pytest.raises(OptionError, match="other gives p, h, and no output_0"):
            compare(Artifact(other, inputs=maps["inputs"]))

    def test_a_tuple_is_in_the_modules_order(self):
        def row(x, hidden):
            found = function(x, hidden)
            return found["output_0"], found["output_1"]

        assert compare(row).passed

    def test_what_it_raises_is_told(self):
        def broken(x, hidden):
            raise RuntimeError("no answer from the phone")

        assert problem(broken) == "failed to load: RuntimeError: no answer from the phone"


class TestMisuse:
    @pytest.mark.parametrize(
        ("artifacts", "message"),
        [
            ("step.onnx", "expected a list, as"),
            (["step.tflite"], "step.tflite ends in none of .onnx, .pt, .pt2, .pte, .xml; for"),
            (["gone.onnx"], "gone.onnx: no such file"),
            ([3], "expected a path, a function or an Artifact, got 3"),
            ([function, function], "function is there twice"),
        ],
    )
    def test_what_cannot_be_read(self, artifacts, message):
        with pytest.raises(OptionError, match=message):
            assert_export_parity(step(), EXAMPLE, artifacts=artifacts)

    def test_nothing_to_compare(self):
        with pytest.raises(OptionError, match="backends: expected some names"):
            assert_export_parity(step(), EXAMPLE, backends=[])


def test_a_file_that_is_cut_is_told(folder, tmp_path):
    for name in ("step.onnx", "step.pte", "step.pt", "step.pt2"):
        content = (folder / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        assert problem(tmp_path / name).startswith("failed to load: ")


def test_nested_arguments(tmp_path):
    class Nested(torch.nn.Module):
        def forward(self, pair: dict[str, torch.Tensor], *, scale: torch.Tensor):
            return {"sum": pair["a"] + pair["b"], "scaled": pair["a"] * scale}

    inputs = {"pair": {"a": torch.ones(2), "b": torch.ones(2)}, "scale": torch.ones(2)}
    path = tmp_path / "nested.pt2"
    torch.export.save(torch.export.export(Nested(), (), inputs), path)
    assert assert_export_parity(Nested(), inputs, artifacts=[path]).passed


def test_arguments_by_name_or_by_position(tmp_path):
    x, hidden = EXAMPLE
    program = torch.export.export(step(), (x,), {"hidden": hidden})
    torch.export.save(program, tmp_path / "named.pt2")
    paths = [tmp_path / "named.pt2", files.write_pt2(step(), tmp_path / "step.pt2")]
    paths.append(files.write_pt(step(), tmp_path / "step.pt"))
    for example in (EXAMPLE, {"x": x, "hidden": hidden}):
        options = {"state": STATE, "steps": 2, "artifacts": paths}
        assert assert_export_parity(step(), example, **options).passed
