"""`check`: a bundle is right on the machine that runs it, or says what is not."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from deploy_bias.bundle import Bundle
from deploy_bias.errors import BackendError, BundleError, MismatchError, OptionError
from deploy_bias.runtime import check
from deploy_bias.runtime.backends import onnx as onnx_backend
from deploy_bias.runtime.proof import require_proof
from tests.deploy_bias.runtime.proof.wrong_runtimes import WRONG, in_file, saturated_weights


def wrong_rows(report):
    return [row for row in report.rows if not row.passed]


@pytest.fixture
def copy(digits_bundle, tmp_path):
    shutil.copytree(digits_bundle.folder, tmp_path / "b")
    return tmp_path / "b"


class TestARightRuntime:
    def test_every_graph_of_every_backend(self, digits_bundle):
        report = check(digits_bundle)
        assert report.passed, report.why
        graphs = {"frontend", "encoder", "bias", "decoder", "joint"}
        for backend in digits_bundle.manifest.backends:
            assert {row.graph for row in report.rows if row.backend == backend} == graphs
        assert all(0 <= row.over_limit <= 1 and row.steps for row in report.rows)
        assert not report.left_out

    def test_the_labels_of_the_stored_utterances(self, digits_bundle):
        report = check(digits_bundle, ["onnx"])
        (joint,) = [row for row in report.rows if row.graph == "joint"]
        assert joint.agreed == joint.compared > 500

    def test_quantised_by_distance_and_labels(self, int8_bundle):
        report = check(int8_bundle)
        assert report.passed, report.why
        measures = {row.graph: row.measure for row in report.rows}
        assert measures["encoder"] == measures["decoder"] == measures["joint"] == "distance"
        assert measures["frontend"] == measures["bias"] == "elements"
        assert all(row.agreed > 500 for row in report.rows if row.graph == "joint")

    def test_whole_utterances(self, offline_bundle):
        assert check(offline_bundle, ["onnx"]).passed

    def test_the_machine_is_told(self, digits_bundle):
        report = check(digits_bundle, ["onnx"])
        assert report.machine.system.split()[0] in ("Linux", "Darwin", "Windows")
        assert report.runtimes.keys() == {"onnx"}
        assert json.loads(json.dumps(report.to_dict()))["passed"] is True

    def test_no_torch(self, digits_bundle):
        code = (
            "import sys; sys.modules['torch'] = None\n"
            "from deploy_bias.runtime import check\n"
            "assert check(sys.argv[1], ['onnx']).passed"
        )
        subprocess.run([sys.executable, "-c", code, str(digits_bundle.folder)], check=True)


class TestAWrongRuntime:
    @pytest.mark.parametrize("name", WRONG)
    def test_is_caught_and_named(self, digits_bundle, monkeypatch, name):
        open_session, graph = WRONG[name]
        monkeypatch.setattr(onnx_backend, "open_session", open_session)
        report = check(digits_bundle, ["onnx"])
        assert not report.passed
        assert graph in {row.graph for row in wrong_rows(report)}
        with pytest.raises(MismatchError, match=rf"{graph} on onnx [\d.]+, fp32: case '.+', step"):
            require_proof(report)

    def test_int8_sums_that_saturate(self, int8_bundle, monkeypatch):
        wrong = in_file("decoder", saturated_weights)
        monkeypatch.setattr(onnx_backend, "open_session", wrong)
        report = check(int8_bundle, ["onnx"])
        assert "decoder" in {row.graph for row in wrong_rows(report)}
        assert "% off, at most" in report.why

    def test_a_session_that_raises_is_a_row(self, digits_bundle, monkeypatch):
        class Raising:
            label = property(lambda self: self.session.label)

            def __init__(self, data, providers=()):
                self.session = original(data, providers)

            def run(self, graph, inputs):
                raise RuntimeError("no kernel for Gemm")

        original = onnx_backend.open_session
        monkeypatch.setattr(onnx_backend, "open_session", Raising)
        report = check(digits_bundle, ["onnx"])
        assert all("no kernel for Gemm" in row.problem for row in report.rows)

    def test_one_element_off_by_little_more_than_its_limit(self, copy):
        vectors = load_file(copy / "vectors.safetensors")
        limits = load_file(copy / "limits.safetensors")
        key = "joint/normal/logits"
        vectors[key].flat[37] += 3 * limits[key].flat[37]
        rewrite(copy, "vectors", vectors)
        (row,) = wrong_rows(check(copy, ["onnx"]))
        assert row.graph == "joint"
        assert "case 'normal', step 2, logits: off by" in row.problem


def rewrite(folder, field, tensors):
    """Write a file of the manifest anew, with its hash."""
    import hashlib

    path = folder / f"{field}.safetensors"
    save_file(tensors, path)
    data = path.read_bytes()
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest[field] |= {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (folder / "manifest.json").write_text(json.dumps(manifest))


class TestBadInput:
    def test_no_limits(self, copy):
        manifest = json.loads((copy / "manifest.json").read_text())
        del manifest["limits"]
        (copy / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(BundleError, match="holds no limits to check against; export again"):
            check(copy)

    def test_no_stored_cases(self, copy):
        rewrite(copy, "vectors", {"other/case/x": np.zeros(1, np.float32)})
        report = check(copy, ["onnx"])
        assert all("the vectors or limits lack" in row.problem for row in report.rows)

    def test_limits_of_another_graph(self, copy):
        rewrite(copy, "limits", {"other/case/x": np.zeros(1, np.float32)})
        assert all("limits lack" in row.problem for row in check(copy, ["onnx"]).rows)

    @pytest.mark.parametrize("value", [np.nan, -1.0])
    def test_limits_that_allow_anything(self, copy, value):
        limits = load_file(copy / "limits.safetensors")
        limits["joint/normal/logits"][:] = value
        rewrite(copy, "limits", limits)
        with pytest.raises(BundleError, match="logits holds NaN or numbers below 0"):
            check(copy, ["onnx"])

    @pytest.mark.parametrize("part", ["decoder/padding/", "recorded/"])
    def test_a_case_that_is_gone_is_told(self, copy, part):
        vectors = load_file(copy / "vectors.safetensors")
        rewrite(copy, "vectors", {k: v for k, v in vectors.items() if not k.startswith(part)})
        (row,) = wrong_rows(check(copy, ["onnx"]))
        assert "vectors or limits lack" in row.problem

    def test_fewer_steps_than_limits(self, copy):
        vectors = load_file(copy / "vectors.safetensors")
        cut = {k: v[:1] if k.startswith("decoder/padding/") else v for k, v in vectors.items()}
        rewrite(copy, "vectors", cut)
        (row,) = wrong_rows(check(copy, ["onnx"]))
        assert "its limits (40," in row.problem

    def test_tokens_that_were_cut(self, copy):
        (copy / "tokens.txt").write_text("")
        with pytest.raises(BundleError, match=r"tokens.txt: .*was changed or cut"):
            check(copy, ["onnx"])

    def test_a_cut_artifact_is_a_row(self, copy):
        path = copy / "decoder.onnx"
        path.write_bytes(path.read_bytes()[:-1])
        (row,) = wrong_rows(check(copy, ["onnx"]))
        assert row.graph == "decoder"
        assert "was changed or cut" in row.problem

    def test_a_provider_that_is_not_there(self, digits_bundle):
        with pytest.raises(
            BackendError, match=r"'NoneProvider' is not there; ONNX Runtime has .*CPU"
        ):
            check(digits_bundle, ["onnx"], providers=["NoneProvider"])

    def test_providers_of_a_backend_that_knows_none(self, digits_bundle):
        with pytest.raises(OptionError, match="knows none; add the backend onnx"):
            check(digits_bundle, ["torchscript"], providers=["CPUExecutionProvider"])

    @pytest.mark.parametrize("precision", ["int8", "int4"])
    def test_a_precision_that_the_bundle_lacks(self, digits_bundle, precision):
        with pytest.raises(BackendError, match=f"in precision '{precision}'; it has"):
            check(digits_bundle, ["onnx"], [precision])


def test_the_bundle_of_another_limit_file_is_damaged(copy):
    path = copy / "limits.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(BundleError, match="was changed or cut"):
        check(Bundle(copy))
