"""Test data, read by runtimes that we did not write: each must come within our own budgets."""

import base64
import hashlib
import itertools
import json
import shutil
import subprocess
import unittest
from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
from onnx import numpy_helper
from onnx.backend.base import Backend
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import Runner
from onnx.reference import ReferenceEvaluator

from deploy_bias.errors import BackendError, BundleError
from deploy_bias.export import ExportOptions, export_bundle
from deploy_bias.export.testdata import INDEX, write_test_data
from deploy_bias.runtime import load

WEB = Path(__file__).parents[2] / "web_demo"
MODELS = ("frontend", "encoder", "bias", "decoder", "joiner")


@pytest.fixture(scope="module")
def folder(digits_bundle, tmp_path_factory) -> Path:
    """The test data of the shipped model."""
    folder = tmp_path_factory.mktemp("test_data") / "digits"
    write_test_data(digits_bundle, folder)
    return folder


def index(folder) -> dict[str, dict[str, list[dict]]]:
    return json.loads((folder / INDEX).read_text())["files"]


def read(folder, kind) -> dict[str, np.ndarray]:
    """The tensors of a data set by name, in the order of their numbers."""
    found = {}
    for number in range(len(list(folder.glob(f"{kind}_*.pb")))):
        tensor = onnx.load_tensor(folder / f"{kind}_{number}.pb")
        found[tensor.name] = numpy_helper.to_array(tensor)
    return found


def data_sets(folder, model):
    """Yield inputs, outputs and tolerances by name of each data set of an ONNX model."""
    (described,) = index(folder)[f"test_{model}/model.onnx"].values()
    for number, one in enumerate(described):
        inner = folder / f"test_{model}" / f"test_data_set_{number}"
        yield read(inner, "input"), read(inner, "output"), one["tolerance"]


def assert_near(got, expected, tolerance):
    assert got.keys() == expected.keys() == tolerance.keys()
    for name, array in expected.items():
        assert got[name].dtype == array.dtype
        error = np.abs(got[name].astype(np.float64) - array).max()
        assert error <= tolerance[name], name


class TestOnnx:
    @pytest.mark.parametrize("model", MODELS)
    def test_openvino(self, folder, model):
        core = openvino.Core()
        # Or it may compute in bfloat16, where the processor can.
        core.set_property("CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        compiled = core.compile_model(folder / f"test_{model}" / "model.onnx", "CPU")
        for inputs, outputs, tolerance in data_sets(folder, model):
            got = compiled(inputs)
            assert_near({name: got[name] for name in outputs}, outputs, tolerance)

    @pytest.mark.parametrize("model", MODELS)
    def test_reference_evaluator(self, folder, model):
        evaluator = ReferenceEvaluator(str(folder / f"test_{model}" / "model.onnx"))
        for inputs, outputs, tolerance in data_sets(folder, model):
            got = dict(zip(evaluator.output_names, evaluator.run(None, inputs), strict=True))
            assert_near(got, outputs, tolerance)

    @pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
    @pytest.mark.skipif(
        not (WEB / "node_modules" / "onnxruntime-web").is_dir(),
        reason="onnxruntime-web is not installed; `make node` does, where npm is",
    )
    @pytest.mark.parametrize("model", MODELS)
    def test_onnxruntime_web(self, folder, model):
        sets = list(data_sets(folder, model))
        question = {
            "model": str(folder / f"test_{model}" / "model.onnx"),
            "sets": [
                {
                    name: [str(x.dtype), x.shape, base64.b64encode(x.tobytes()).decode()]
                    for name, x in inputs.items()
                }
                for inputs, _, _ in sets
            ],
        }
        command = ["node", WEB / "test" / "data_sets.js"]
        done = subprocess.run(command, input=json.dumps(question), stdout=-1, text=True, check=True)
        for answer, (_, outputs, tolerance) in zip(json.loads(done.stdout), sets, strict=True):
            got = {
                name: np.frombuffer(base64.b64decode(data), dtype).reshape(shape)
                for name, (dtype, shape, data) in answer.items()
            }
            assert_near(got, outputs, tolerance)

    def test_onnxs_own_test_runner(self, folder, monkeypatch):
        result = run_by_onnx(folder, monkeypatch)
        assert not result.failures
        assert not result.errors
        assert result.testsRun - len(result.skipped) == len(MODELS)

    def test_onnxs_own_test_runner_finds_a_changed_output(self, folder, monkeypatch, tmp_path):
        copy = shutil.copytree(folder, tmp_path / "copy")
        path = copy / "test_decoder" / "test_data_set_4" / "output_1.pb"
        tensor = onnx.load_tensor(path)
        array = numpy_helper.to_array(tensor).copy()
        array.flat[7] += 1e-5
        path.write_bytes(numpy_helper.from_array(array, tensor.name).SerializeToString())
        ((failed, _),) = run_by_onnx(copy, monkeypatch).failures
        assert "decoder" in str(failed)


class _Reference(Backend):
    """The reference evaluator as a backend of onnx's test runner."""

    @classmethod
    def supports_device(cls, device):
        return device == "CPU"

    @classmethod
    def prepare(cls, model, device="CPU", **kwargs):
        evaluator = ReferenceEvaluator(model)
        names = evaluator.input_names
        evaluator_run = evaluator.run
        evaluator.run = lambda inputs: evaluator_run(None, dict(zip(names, inputs, strict=True)))
        return evaluator


def run_by_onnx(folder, monkeypatch) -> unittest.TestResult:
    """Run a folder of models by onnx's test runner, in the place of its own simple models."""
    monkeypatch.setattr(
        "onnx.backend.test.runner.load_model_tests",
        lambda kind: load_model_tests(folder.parent, folder.name) if kind == "simple" else [],
    )
    result = unittest.TestResult()
    Runner(_Reference, __name__).test_suite.run(result)
    return result


@pytest.fixture(scope="module")
def program(folder):
    from executorch.extension.pybindings.portable_lib import _load_bundled_program_from_buffer

    return _load_bundled_program_from_buffer((folder / "model.bpte").read_bytes())


class TestExecuTorch:
    def test_its_own_verification_of_each_data_set(self, program, folder):
        for method, described in index(folder)["model.bpte"].items():
            for number, one in enumerate(described):
                most = max(one["tolerance"].values())
                program.verify_result_with_bundled_expected_output(method, number, 0.0, most)

    def test_its_own_verification_can_fail(self, program, folder):
        for method in ("encoder", "decoder", "joint"):
            with pytest.raises(RuntimeError, match="verification failed"):
                program.verify_result_with_bundled_expected_output(method, 1, 0.0, 1e-9)

    def test_all_data_sets_are_in_it(self, program, folder):
        for method, described in index(folder)["model.bpte"].items():
            with pytest.raises(RuntimeError, match="execution failed"):
                program.verify_result_with_bundled_expected_output(method, len(described))


class TestDataSets:
    def test_those_of_a_graph_with_state_are_steps_of_a_rollout(self, folder):
        assert [one["step"] for one in index(folder)["model.bpte"]["decoder"]] == [
            *(0, 250, 500, 749, 999)
        ]
        found = [inputs for inputs, _, _ in data_sets(folder, "decoder")]
        assert [inputs["valid"].item() for inputs in found] == [1, 127, 127, 127, 127]
        assert not found[0]["key_window_0"].any()
        assert found[-1]["key_window_0"].any(-1).all()

    def test_the_state_is_that_of_the_steps_before(self, folder, digits_bundle):
        # The encoder's are all chunks of one utterance: what a chunk gives, the next one is given.
        graphs = digits_bundle.artifacts("executorch")[0].graphs
        (encoder,) = (graph for graph in graphs if graph.name == "encoder")
        found = list(data_sets(folder, "encoder"))
        for (before, outputs, tolerance), (inputs, _, _) in itertools.pairwise(found):
            rows = encoder.outputs[0].rows.count(before["frames"].item())
            carried = inputs["conv_window_0"]
            new = outputs["new_conv_0"][:, rows - carried.shape[1] : rows]
            assert np.abs(new - carried).max() <= tolerance["new_conv_0"]

    def test_the_bundles_own_graphs_pass(self, folder, digits_bundle):
        graphs = load(digits_bundle, "torchscript")
        for model in MODELS:
            graph = graphs["joint" if model == "joiner" else model]
            for inputs, outputs, tolerance in data_sets(folder, model):
                assert_near(graph(**inputs), outputs, tolerance)

    def test_a_dynamic_graph_has_some_of_each_length(self, dynamic_bundle, tmp_path):
        write_test_data(dynamic_bundle, tmp_path / "t")
        evaluator = ReferenceEvaluator(str(tmp_path / "t" / "test_bias" / "model.onnx"))
        shapes = set()
        for inputs, outputs, tolerance in data_sets(tmp_path / "t", "bias"):
            got = dict(zip(evaluator.output_names, evaluator.run(None, inputs), strict=True))
            assert_near(got, outputs, tolerance)
            shapes.add(inputs["scores"].shape)
        assert {(1, 1, 1), (1, 1, 37), (1, 37, 37)} <= shapes

    def test_the_same_bundle_gives_the_same_bytes(self, small_bundle, tmp_path):
        for name in ("one", "another"):
            write_test_data(small_bundle, tmp_path / name)

        def hashes(folder):
            return {
                path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest()
                for path in folder.rglob("*")
                if path.is_file()
            }

        assert hashes(tmp_path / "one") == hashes(tmp_path / "another")


class TestRefusals:
    def test_a_folder_that_holds_something(self, digits_bundle, tmp_path):
        (tmp_path / "mine.txt").write_text("x")
        with pytest.raises(BundleError, match="not empty"):
            write_test_data(digits_bundle, tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]

    def test_a_bundle_of_torchscript_alone(self, tmp_path):
        from deploy_bias import RelativePositionBias
        from deploy_bias.bundle import Bundle

        export_bundle(
            RelativePositionBias(8), tmp_path / "b", ExportOptions(backends=["torchscript"])
        )
        with pytest.raises(BackendError, match="executorch and onnx"):
            write_test_data(Bundle(tmp_path / "b"), tmp_path / "t")
