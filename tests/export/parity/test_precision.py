"""Quantised graphs: what is written, that they prefer eager's labels, and what is refused."""

import hashlib
import json
import shutil

import numpy as np
import onnx
import pytest
import torch
import yaml
from onnx import numpy_helper

from deploy_bias import RelativePositionBias
from deploy_bias.bundle import PARITY, Bundle
from deploy_bias.errors import BackendError, BundleError, OptionError, SourceError
from deploy_bias.export import ExportOptions, Mismatch, export_bundle, verify
from deploy_bias.export.backends import executorch as executorch_exporter
from deploy_bias.runtime import Decoder, Joint, load, open_search
from tests.espnet.models import perturb

BACKENDS = ["onnx", "executorch"]
STEMS = ("bias", "decoder", "joiner")
QUANTISED = [(backend, precision) for backend in BACKENDS for precision in ("int8", "int4")]


@pytest.fixture(scope="module")
def model(digits, tmp_path_factory):
    """The shipped model without its encoder, which takes minutes to export, but with its frames."""
    folder = tmp_path_factory.mktemp("models") / "digits"
    shutil.copytree(digits / "encoder_out", folder / "encoder_out")
    config = yaml.safe_load((digits / "config.yaml").read_text())
    del config["encoder_conf"]
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    state = torch.load(digits / "valid.loss.best.pth", weights_only=True)
    kept = {n: t for n, t in state.items() if n.startswith(("decoder.", "joint_network."))}
    torch.save(kept, folder / "valid.loss.best.pth")
    return folder


@pytest.fixture(scope="module")
def fp32(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles") / "fp32"
    export_bundle(model, folder)
    return Bundle(folder)


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    """A bundle in int8 and int4, and what was proven of it."""
    folder = tmp_path_factory.mktemp("bundles") / "quantised"
    report = export_bundle(model, folder, ExportOptions(precisions=["int8", "int4"]))
    return Bundle(folder), report


@pytest.fixture(scope="module")
def quantised(exported):
    return exported[0]


@pytest.fixture(scope="module")
def report(exported):
    return exported[1]


class TestWhatIsWritten:
    def test_the_files(self, quantised):
        assert [artifact.path for artifact in quantised.manifest.artifacts] == [
            "model.int8.pte",
            "model.int4.pte",
            *(f"{stem}.int8.onnx" for stem in STEMS),
            *(f"{stem}.int4.onnx" for stem in STEMS),
        ]
        assert quantised.manifest.backends == ("executorch", "onnx")
        assert quantised.manifest.precisions("onnx") == ("int8", "int4")

    def test_they_are_smaller(self, quantised, fp32):
        def size(bundle, backend, precision):
            return sum(artifact.bytes for artifact in bundle.artifacts(backend, precision))

        for backend in BACKENDS:
            whole = size(fp32, backend, "fp32")
            int8, int4 = (size(quantised, backend, precision) for precision in ("int8", "int4"))
            assert int4 < int8 < 0.45 * whole

    def test_only_the_linear_layers_are_quantised_in_onnx(self, quantised, fp32):
        (plain,) = [a for a in fp32.artifacts("onnx") if a.path == "decoder.onnx"]
        found = {a.path: a.operators for a in quantised.artifacts("onnx", "int8")}
        before = plain.operators["decoder"].undelegated
        after = found["decoder.int8.onnx"]["decoder"].undelegated
        assert (before["Gemm"], after["MatMulNBits"]) == (8, 8)
        assert "Gemm" not in after
        assert before["MatMul"] == after["MatMul"]
        assert before["InstanceNormalization"] == after["InstanceNormalization"] == 3  # layer norms
        assert found["joiner.int8.onnx"]["joint"].undelegated["MatMulNBits"] == 3
        assert "MatMulNBits" not in found["bias.int8.onnx"]["bias"].undelegated

    @pytest.mark.parametrize("precision", ["int8", "int4"])
    def test_the_decoder_stays_one_delegate_in_executorch(self, quantised, precision):
        (artifact,) = quantised.artifacts("executorch", precision)
        taken = artifact.operators["decoder"]
        assert taken.delegated["aten.linear.default"] == 8 + 6 + 1
        assert not [name for name in taken.undelegated if "linear" in name or "mm" in name]

    def test_the_same_bytes_every_time(self, quantised, model, tmp_path):
        export_bundle(model, tmp_path / "b", ExportOptions(backends=["onnx"], precisions=["int4"]))
        again = (tmp_path / "b" / "vectors.safetensors").read_bytes()
        assert again == (quantised.folder / "vectors.safetensors").read_bytes()
        first, second = (
            onnx.load(folder / "decoder.int4.onnx") for folder in (quantised.folder, tmp_path / "b")
        )
        assert first.graph == second.graph


class TestAgreement:
    def test_the_shipped_model_prefers_the_same_labels(self, report):
        assert report.passed
        for result in report.results:
            if result.graph == "bias":
                assert result.agreement is None
                assert result.cases
                continue
            assert result.cases == ()
            assert result.agreement.frames == "recorded"
            assert result.agreement.compared > 1000
            assert result.agreement.share >= {"int8": 0.99, "int4": 0.9}[result.precision]
            assert result.agreement.distance < {"int8": 0.02, "int4": 0.15}[result.precision]

    def test_fp32_prefers_the_same_labels_at_every_step(self, fp32):
        found = [r.agreement for r in verify(fp32).results if r.agreement]
        assert len(found) == 6
        for agreement in found:
            assert agreement.agreed == agreement.compared > 1000
            assert agreement.distance < 1e-6

    @pytest.mark.parametrize(("backend", "precision"), QUANTISED)
    def test_recordings_are_decoded_to_the_same_text(
        self, quantised, fp32, digits, backend, precision
    ):
        def decode(graphs):
            search = open_search("greedy", Decoder(graphs["decoder"]), Joint(graphs["joint"]))
            for path in sorted((digits / "encoder_out").glob("*.npy")):
                search.reset()
                search.accept(np.load(path))
                yield search.results()[0].labels

        got = list(decode(load(quantised, backend, precision)))
        assert len(got) == 8
        if precision == "int8":
            assert got == list(decode(load(fp32, backend)))

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_the_bias_is_the_same_in_each(self, quantised, fp32, backend):
        scores = torch.randn(1, 128, 128).numpy()
        expected = load(fp32, backend)["bias"](scores=scores)["biased_scores"]
        for precision in ("int8", "int4"):
            got = load(quantised, backend, precision)["bias"](scores=scores)["biased_scores"]
            assert np.array_equal(got, expected)

    @pytest.mark.parametrize("backend", ["onnx", "executorch", "torchscript"])
    def test_fp32_does_not_drift_over_1000_steps(self, fp32, backend):
        from deploy_bias.export.graphs import BundleWeights
        from deploy_bias.export.rollout import run_case

        loaded = load(fp32, backend)["decoder"]
        graph = BundleWeights(fp32).graph(loaded.contract)
        steps = graph.cases()["past three windows"]
        assert len(steps) == 1000

        def call(inputs):
            arrays = loaded(**{name: tensor.numpy() for name, tensor in inputs.items()})
            return {name: torch.from_numpy(array) for name, array in arrays.items()}

        got = run_case(graph.contract, call, steps, torch.float32)
        exact = run_case(graph.contract, graph.eager(torch.float64), steps, torch.float64)
        for name in ("decoder_out", "next_ema_state"):
            error = (got[name] - exact[name]).abs().flatten(1).amax(1)
            assert error[900:].max() < 2 * error[100:200].max()


SIZES = {"block_size": 64, "linear_size": 80}
"""80 is no whole number of blocks of 32 or 64, nor are the 16 and 10 of the rest."""


class TestOtherModels:
    def test_the_encoder_too(self, int8_bundle):
        report = json.loads((int8_bundle.folder / PARITY).read_text())
        encoders = [result for result in report["results"] if result["graph"] == "encoder"]
        assert [encoder["backend"] for encoder in encoders] == sorted(BACKENDS)
        for encoder in encoders:
            assert encoder["passed"]
            assert encoder["cases"] == []
            assert encoder["agreement"]["frames"] == "synthetic"
            assert encoder["agreement"]["distance"] < 0.03

    @pytest.mark.parametrize(
        ("options", "batch"), [({"num_blocks": 1}, 1), (SIZES | {"chunk_size": 6}, 3)], ids=str
    )
    def test_random_weights_on_synthetic_frames(self, experiment, tmp_path, options, batch):
        folder, _ = experiment(**options)
        report = export_bundle(
            folder,
            tmp_path / "b",
            ExportOptions(backends=["onnx"], precisions=["int8", "int4"], batch=batch),
        )
        found = [result.agreement for result in report.results if result.agreement]
        assert {agreement.frames for agreement in found} == {"synthetic"}
        assert all(agreement.compared > 500 for agreement in found)

    @pytest.mark.parametrize("precision", ["fp32", "int8"])
    def test_a_model_that_prefers_blank_on_all_random_frames(self, experiment, tmp_path, precision):
        folder, _ = experiment(num_blocks=1)
        path = folder / "valid.loss.best.pth"
        state = torch.load(path, weights_only=True)
        state["joint_network.lin_out.bias"][0] += 1000
        torch.save(state, path)
        report = export_bundle(
            folder, tmp_path / "b", ExportOptions(backends=["onnx"], precisions=[precision])
        )
        assert report.passed
        found = [result.agreement for result in report.results if result.agreement]
        assert {agreement.compared for agreement in found} == {0}
        assert {agreement.percent for agreement in found} == {"-"}

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_a_hypothesis_does_not_depend_on_the_others_of_its_batch(
        self, experiment, tmp_path, backend
    ):
        folder, _ = experiment(num_blocks=1, **SIZES)
        wanted = {"backends": [backend], "precisions": ["int4"], "query_length": 1}
        export_bundle(folder, tmp_path / "b", ExportOptions(batch=2, **wanted))
        joint = load(tmp_path / "b", backend, "int4")["joint"]
        frames, out = (torch.randn(2, size).numpy() for size in (12, 64))
        both = joint(encoder_out=frames, decoder_out=out)["logits"]
        frames[1] *= 100
        assert np.array_equal(joint(encoder_out=frames, decoder_out=out)["logits"][0], both[0])

    def test_frames_of_the_experiment_are_taken(self, experiment, tmp_path):
        folder, _ = experiment(num_blocks=1)
        (folder / "encoder_out").mkdir()
        np.save(folder / "encoder_out" / "mine.npy", np.random.default_rng(0).normal(size=(9, 12)))
        export_bundle(folder, tmp_path / "b", ExportOptions(backends=["onnx"]))
        bundle = Bundle(tmp_path / "b")
        vectors = bundle.tensors(bundle.manifest.vectors)
        assert vectors["recorded/mine/encoder_out"].shape == (9, 12)
        assert vectors["recorded/mine/encoder_out"].dtype == np.float32
        assert vectors["recorded/mine/label"][0] == 0

    @pytest.mark.parametrize(
        ("frames", "message"),
        [
            (np.zeros((9, 11), np.float32), r"floating-point \(T, 12\), got float32 \(9, 11\)"),
            (np.zeros((1, 9, 12), np.float32), r"got float32 \(1, 9, 12\)"),
            (np.zeros((9, 12), np.int64), r"got int64"),
            (np.full((9, 12), np.nan), "expected finite values"),
        ],
    )
    def test_what_are_no_frames(self, experiment, tmp_path, frames, message):
        folder, _ = experiment(num_blocks=1)
        (folder / "encoder_out").mkdir()
        np.save(folder / "encoder_out" / "mine.npy", frames)
        with pytest.raises(SourceError, match=rf"mine\.npy: .*{message}"):
            export_bundle(folder, tmp_path / "b", ExportOptions(backends=["onnx"]))


def times(factor):
    return "scales", lambda array: array * factor


ZEROED, TOO_LARGE = times(0.0), times(1.25)
SHUFFLED = "packed", lambda array: np.roll(array, 1, axis=0)
TRANSPOSED = "packed", lambda array: array.swapaxes(0, 2)
NOT_FINITE = times(np.nan)
FAULTS = [
    ("decoder.int8.onnx", "proj_v.weight", ZEROED),
    ("decoder.int8.onnx", "proj_h.weight", TRANSPOSED),
    ("decoder.int8.onnx", "to_qk.weight", SHUFFLED),
    ("decoder.int8.onnx", "linear2.weight", TOO_LARGE),
    ("decoder.int8.onnx", "to_qk.weight", times(1.05)),
    ("decoder.int8.onnx", "linear1.weight", times(0.95)),
    ("decoder.int8.onnx", "to_gate.weight", NOT_FINITE),
    ("joiner.int8.onnx", "lin_dec.weight", ZEROED),
    ("joiner.int8.onnx", "lin_out.weight", TOO_LARGE),
    ("joiner.int8.onnx", "lin_enc.weight", times(0.97)),
]


class TestFaults:
    """Known-bad quantised graphs, with a right label and right hashes."""

    @pytest.fixture
    def int8_onnx(self, quantised, tmp_path):
        """A copy with the int8 graphs of ONNX alone, whose files may be changed."""
        folder = tmp_path / "copy"
        shutil.copytree(quantised.folder, folder)
        path = folder / "manifest.json"
        content = json.loads(path.read_text())
        for artifact in content["artifacts"]:
            if (artifact["backend"], artifact["precision"]) != ("onnx", "int8"):
                (folder / artifact["path"]).unlink()

        def rewrite(name=None, data=b""):
            if name:
                (folder / name).write_bytes(data)
            content["artifacts"] = [
                artifact
                | (
                    {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
                    if artifact["path"] == name
                    else {}
                )
                for artifact in content["artifacts"]
                if (artifact["backend"], artifact["precision"]) == ("onnx", "int8")
            ]
            path.write_text(json.dumps(content))
            return Bundle(folder)

        return rewrite

    def test_without_a_fault(self, int8_onnx):
        assert verify(int8_onnx()).passed

    @pytest.mark.parametrize(("file", "weight", "fault"), FAULTS)
    def test_a_faulty_weight(self, quantised, int8_onnx, file, weight, fault):
        part, change = fault
        model = onnx.load(quantised.folder / file)
        (tensor,) = [t for t in model.graph.initializer if t.name.endswith(f"{weight}.{part}")]
        array = numpy_helper.to_array(tensor)
        changed = np.ascontiguousarray(change(array)).reshape(array.shape)
        tensor.CopyFrom(numpy_helper.from_array(changed, tensor.name))
        report = verify(int8_onnx(file, model.SerializeToString()))
        graph = "joint" if "joiner" in file else "decoder"
        failed = {result.graph for result in report.results if not result.passed}
        assert graph in failed
        assert failed <= {"decoder", "joint"}

    def test_a_faulty_layer_in_executorch_is_not_written(self, model, tmp_path, monkeypatch):
        quantize = executorch_exporter.quantize

        def forget_a_layer(module, *rest):
            if hasattr(module, "step"):
                module.step.blocks[0].linear2.weight.data.zero_()
            return quantize(module, *rest)

        monkeypatch.setattr(executorch_exporter, "quantize", forget_a_layer)
        message = r"decoder on executorch, int8: prefers eager's label in .* required 99%"
        with pytest.raises(Mismatch, match=message):
            export_bundle(
                model, tmp_path / "b", ExportOptions(backends=["executorch"], precisions=["int8"])
            )
        assert not (tmp_path / "b").exists()

    def test_a_label_of_another_precision(self, quantised, int8_onnx):
        data = (quantised.folder / "decoder.int4.onnx").read_bytes()
        bundle = int8_onnx("decoder.int8.onnx", data)
        with pytest.raises(BundleError, match=r"its own precision differs .*found int4, expected"):
            load(bundle, "onnx", "int8")

    def test_a_precision_that_was_not_exported(self, quantised):
        message = (
            r"no artifact for backend 'onnx' in precision 'fp32'; it has executorch "
            r"\(int8, int4\), onnx \(int8, int4\)\. Take one of these, or export again"
        )
        with pytest.raises(BackendError, match=message):
            load(quantised)


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"precisions": ["int9"]}, "--precision 'int9' is unknown; choose from fp32, int8, "),
            ({"precisions": ["int8", "int8"]}, "--precision names int8 twice"),
            ({"precisions": []}, "--precision names none"),
            (
                {"precisions": ["int8"], "backends": ["torchscript"]},
                "--precision int8: no backend asked for has it: torchscript has fp32",
            ),
            (
                {"precisions": ["int8"], "backends": ["onnx", "torchscript"]},
                "--backend torchscript: has none of --precision int8: onnx has fp32, int8, int4, ",
            ),
        ],
    )
    def test_what_no_backend_can(self, digits, tmp_path, options, message):
        with pytest.raises(OptionError, match=message):
            export_bundle(digits, tmp_path / "b", ExportOptions(**options))
        assert not any(tmp_path.iterdir())

    def test_a_bias_has_nothing_to_quantise(self, tmp_path):
        with pytest.raises(OptionError, match="a bias has no linear layers to quantise"):
            export_bundle(
                RelativePositionBias(9), tmp_path / "b", ExportOptions(precisions=["fp32", "int8"])
            )

    def test_what_is_left_out_is_said(self, experiment, tmp_path):
        folder, _ = experiment(num_blocks=1)
        said = []
        export_bundle(
            folder,
            tmp_path / "b",
            ExportOptions(backends=["onnx", "torchscript"], precisions=["fp32", "int8"]),
            progress=said.append,
        )
        assert "leave out torchscript for int8, which it does not have" in said
        manifest = Bundle(tmp_path / "b").manifest
        assert manifest.precisions("torchscript") == ("fp32",)
        assert manifest.precisions("onnx") == ("fp32", "int8")


def test_quantising_leaves_the_module_alone():
    layer = perturb(torch.nn.Sequential(torch.nn.Linear(32, 4)))
    before = layer[0].weight.clone()
    executorch_exporter.quantize(layer, "int4")
    assert type(layer[0].weight) is torch.nn.Parameter
    assert torch.equal(layer[0].weight, before)
