"""Exporting: what is written, that it is the same every time, and that it is all or nothing."""

import json
import os
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from deploy_bias import RelativePositionBias
from deploy_bias.bundle import Bundle
from deploy_bias.errors import BackendError, BundleError, OptionError, SourceError
from deploy_bias.export import ExportOptions, Mismatch, export_bundle
from deploy_bias.runtime import load, open_file

FILES = {
    "bias.onnx",
    "bias.pt",
    "decoder.onnx",
    "decoder.pt",
    "encoder.onnx",
    "encoder.pt",
    "frontend.onnx",
    "frontend.pt",
    "joiner.onnx",
    "joiner.pt",
    "manifest.json",
    "model.pte",
    "parity.json",
    "tokens.txt",
    "limits.safetensors",
    "vectors.safetensors",
    "weights.safetensors",
}


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def diverged(value):
    bias = RelativePositionBias(3).double()
    torch.nn.init.constant_(bias.relative_position_bias, value)
    return bias


class TestWhatIsWritten:
    def test_the_files(self, digits_bundle):
        assert set(contents(digits_bundle.folder)) == FILES

    def test_weights_have_their_espnet_names_and_values(self, digits_bundle, digits):
        state = torch.load(digits / "valid.loss.best.pth", weights_only=True)
        weights = load_file(digits_bundle.folder / "weights.safetensors")
        # CTC is an auxiliary loss of the training.
        assert set(weights) == {name for name in state if not name.startswith("ctc_lin.")}
        assert all(np.array_equal(array, state[name]) for name, array in weights.items())

    def test_tokens(self, digits_bundle):
        lines = (digits_bundle.folder / "tokens.txt").read_text().splitlines()
        assert lines[:3] == ["<blank> 0", "<unk> 1", "zero 2"]
        assert len(lines) == 14

    def test_vectors_are_what_the_graphs_give(self, digits_bundle):
        vectors = load_file(digits_bundle.folder / "vectors.safetensors")
        graph = load(digits_bundle)["bias"]
        for case in ("real", "normal"):
            got = graph(scores=vectors[f"bias/{case}/scores"][0])
            assert np.array_equal(got["biased_scores"], vectors[f"bias/{case}/biased_scores"][0])

    def test_the_matrix_is_not_in_the_files(self, digits_bundle):
        (onnx, script) = (digits_bundle.folder / name for name in ("bias.onnx", "bias.pt"))
        assert onnx.stat().st_size + script.stat().st_size < 10_000

    def test_xnnpack_takes_the_addition(self, digits_bundle):
        (artifact,) = digits_bundle.artifacts("executorch")
        assert artifact.operators["bias"].delegated == {"aten.add.Tensor": 1}

    def test_no_path_of_this_machine(self, digits_bundle, digits):
        for name, data in contents(digits_bundle.folder).items():
            for path in (os.getcwd(), str(digits), os.path.expanduser("~"), sys.prefix):  # noqa: PTH109, PTH111
                assert path.encode() not in data, (name, path)

    def test_no_source_location_in_torchscript(self, digits_bundle):
        # They are compressed, so a search of the file's bytes would not see them.
        with zipfile.ZipFile(digits_bundle.folder / "bias.pt") as archive:
            assert not [name for name in archive.namelist() if name.endswith(".debug_pkl")]
            for name in archive.namelist():
                assert b"positional_bias.py" not in archive.read(name), name
                assert b"toeplitz.py" not in archive.read(name), name

    def test_the_same_bytes_every_time(self, digits_bundle, demo):
        # The demo exports the same model, in a process of its own with other hashes.
        files, again = contents(digits_bundle.folder), contents(demo.folder / "digits-bundle")
        # The options are those that were given, and the demo gives one.
        both = [json.loads(each.pop("manifest.json")) | {"options": {}} for each in (files, again)]
        assert both[0] == both[1]
        assert files == again


class TestShapes:
    @pytest.mark.parametrize("kind", ["simple", "rotary"])
    def test_several_blocks_share_one_pte(self, experiment, tmp_path, kind):
        folder, decoder = experiment(rel_pos_bias_type=kind)
        report = export_bundle(folder, tmp_path / "bundle", ExportOptions(query_length=1, batch=3))
        assert {(r.graph, r.backend) for r in report.results} == {
            (graph, backend)
            for graph in ("bias_0", "bias_1", "decoder", "joint")
            for backend in ("onnx", "executorch", "torchscript")
        }
        bundle = Bundle(tmp_path / "bundle")
        assert len(bundle.artifacts("executorch")) == 1
        names = ["bias_0.onnx", "bias_1.onnx", "decoder.onnx", "joiner.onnx"]
        assert [a.path for a in bundle.artifacts("onnx")] == names
        scores = np.zeros((3, 1, 20), np.float32)
        for backend in bundle.manifest.backends:
            graphs = load(bundle, backend)
            for i, (block, _) in enumerate(decoder.mega_blocks):
                got = graphs[f"bias_{i}"](scores=scores)["biased_scores"]
                expected = block.rel_pos_bias(20)[-1].detach().expand(3, 1, 20).numpy()
                np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)

    def test_the_default_is_the_square_up_to_256(self, tmp_path):
        export_bundle(RelativePositionBias(300), tmp_path / "b", ExportOptions(backends=["onnx"]))
        (artifact,) = Bundle(tmp_path / "b").artifacts("onnx")
        assert artifact.graphs[0].inputs[0].shape == (1, 256, 256)

    @pytest.mark.parametrize(("queries", "keys"), [(1, 1), (1, 127), (127, 127), (5, 97)])
    def test_odd_windows(self, tmp_path, queries, keys):
        bias = RelativePositionBias(127)
        export_bundle(bias, tmp_path / "b", ExportOptions(query_length=queries, key_length=keys))
        for backend in ("onnx", "executorch", "torchscript"):
            got = load(tmp_path / "b", backend)["bias"](
                scores=np.zeros((1, queries, keys), np.float32)
            )
            assert np.array_equal(got["biased_scores"][0], bias.window(queries, keys).detach())

    def test_dynamic_beside_static(self, tmp_path):
        wanted = ["onnx", "executorch"]
        export_bundle(
            RelativePositionBias(9), tmp_path / "b", ExportOptions(backends=wanted, dynamic=True)
        )
        flexible, static = (open_file(tmp_path / "b" / n) for n in ("bias.onnx", "model.pte"))
        assert flexible.graphs[0].inputs[0].shape[2].maximum == 9
        assert static.graphs[0].inputs[0].shape == (1, 9, 9)

    def test_training_on_does_not_change_the_bundle(self, tmp_path):
        bias = RelativePositionBias(9).double().train()
        export_bundle(bias, tmp_path / "b", ExportOptions(backends=["onnx"]))
        assert bias.training
        assert bias.relative_position_bias.dtype == torch.float64
        assert bias.relative_position_bias.requires_grad


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"key_length": 10}, r"--key-length must be 1 to 9 \(max_positions of the bias\)"),
            ({"key_length": 0}, "--key-length must be 1 to 9"),
            ({"key_length": 4, "query_length": 5}, r"--query-length must be 1 to 4 .*got 5"),
            ({"batch": 0}, "--batch must be at least 1, got 0"),
            ({"batch": 1.5}, r"--batch must be an int, got 1\.5"),
            ({"key_length": 2.0}, r"--key-length must be an int, got 2\.0"),
            ({"query_length": True}, "--query-length must be an int, got True"),
            ({"dynamic": True, "backends": ["executorch"]}, "add --backend onnx"),
            (
                {"dynamic": True, "backends": ["onnx"], "key_length": 4},
                "--key-length: onnx takes any length with --dynamic; leave one of the two out",
            ),
        ],
    )
    def test_options_out_of_range(self, tmp_path, options, message):
        with pytest.raises(OptionError, match=message):
            export_bundle(RelativePositionBias(9), tmp_path / "b", ExportOptions(**options))
        assert not any(tmp_path.iterdir())

    def test_an_unknown_backend(self, tmp_path):
        with pytest.raises(BackendError, match="'tflite' is unknown; choose from executorch, onnx"):
            export_bundle(
                RelativePositionBias(9), tmp_path / "b", ExportOptions(backends=["tflite"])
            )

    @pytest.mark.parametrize("source", [torch.nn.Linear(1, 1), {}])
    def test_a_module_that_is_no_bias(self, tmp_path, source):
        with pytest.raises(SourceError, match="no bias module"):
            export_bundle(source, tmp_path / "b")

    @pytest.mark.parametrize(
        ("bias", "message"),
        [
            (RelativePositionBias(3).to("meta"), "on the meta device has no weights"),
            (diverged(torch.nan), r"^a\.relative_position_bias: expected finite"),
            (diverged(torch.inf), r"^a\.relative_position_bias: expected finite"),
            (diverged(1e300), r"^a\.relative_position_bias: expected finite"),
        ],
    )
    def test_a_module_without_usable_weights(self, tmp_path, bias, message):
        with pytest.raises(SourceError, match=message):
            export_bundle({"a": bias}, tmp_path / "b")
        assert not any(tmp_path.iterdir())

    def test_an_output_below_a_file(self, tmp_path):
        (tmp_path / "file").write_text("x")
        with pytest.raises(BundleError, match="cannot write to"):
            export_bundle(RelativePositionBias(9), tmp_path / "file" / "b")
        with pytest.raises(BundleError, match="exists and is not a bundle"):
            export_bundle(RelativePositionBias(9), tmp_path / "file")
        assert (tmp_path / "file").read_text() == "x"

    def test_a_folder_that_is_no_bundle_is_left_alone(self, tmp_path):
        (tmp_path / "thesis.tex").write_text("x")
        with pytest.raises(BundleError, match="exists and is not a bundle"):
            export_bundle(RelativePositionBias(9), tmp_path)
        assert set(contents(tmp_path)) == {"thesis.tex"}

    def test_a_bundle_that_holds_more_is_left_alone(self, tmp_path):
        export_bundle(RelativePositionBias(9), tmp_path / "b", ExportOptions(backends=["onnx"]))
        (tmp_path / "b" / "notes.txt").write_text("x")
        before = contents(tmp_path / "b")
        with pytest.raises(BundleError, match=r"holds more .*notes\.txt"):
            export_bundle(RelativePositionBias(9), tmp_path / "b", ExportOptions(backends=["onnx"]))
        assert contents(tmp_path / "b") == before


class TestAllOrNothing:
    @pytest.fixture
    def old(self, tmp_path):
        export_bundle(RelativePositionBias(9), tmp_path / "b", ExportOptions(backends=["onnx"]))
        return contents(tmp_path / "b")

    def test_an_old_bundle_is_replaced(self, tmp_path, old):
        bias = RelativePositionBias(5)
        export_bundle(bias, tmp_path / "b", ExportOptions(backends=["torchscript"]))
        assert set(contents(tmp_path / "b")) == {
            "bias.pt",
            "limits.safetensors",
            "manifest.json",
            "parity.json",
            "vectors.safetensors",
            "weights.safetensors",
        }
        assert [path.name for path in tmp_path.iterdir()] == ["b"]

    @pytest.mark.parametrize(
        "failing", ["writer.vectors_of", "bundle.Gate", "writer._write_artifact"]
    )
    def test_a_failure_leaves_the_old_bundle(self, tmp_path, old, monkeypatch, failing):
        def fail(*args, **kwargs):
            raise OSError("disk full")

        monkeypatch.setattr(f"deploy_bias.export.{failing}", fail)
        with pytest.raises(OSError, match="disk full"):
            export_bundle(RelativePositionBias(5), tmp_path / "b", ExportOptions(backends=["onnx"]))
        assert contents(tmp_path / "b") == old
        assert [path.name for path in tmp_path.iterdir()] == ["b"]

    def test_a_failure_of_the_last_step_brings_the_old_bundle_back(
        self, tmp_path, old, monkeypatch
    ):
        rename = Path.rename

        def fail_for_the_new(path, target):
            if path.name == "b" and path.parent != tmp_path:
                raise OSError("disk full")
            return rename(path, target)

        monkeypatch.setattr(Path, "rename", fail_for_the_new)
        with pytest.raises(OSError, match="disk full"):
            export_bundle(RelativePositionBias(5), tmp_path / "b", ExportOptions(backends=["onnx"]))
        assert contents(tmp_path / "b") == old
        assert [path.name for path in tmp_path.iterdir()] == ["b"]

    def test_a_graph_that_does_not_match_is_not_written(self, tmp_path, monkeypatch):
        right = RelativePositionBias.diagonals

        def wrong(self, query_length, key_length):
            return right(self, query_length, key_length).flip(0)

        monkeypatch.setattr(RelativePositionBias, "diagonals", wrong)
        with pytest.raises(Mismatch, match="bias on onnx, fp32: case"):
            export_bundle(RelativePositionBias(9), tmp_path / "b", ExportOptions(backends=["onnx"]))
        assert not any(tmp_path.iterdir())


class TestAMissingRuntime:
    def test_is_told_before_the_work_if_it_was_named(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        options = ExportOptions(backends=["onnx"])
        with pytest.raises(
            BackendError, match=r"needs onnxruntime.*pip install 'deploy-bias\[onnxr"
        ):
            export_bundle(RelativePositionBias(9), tmp_path / "b", options)
        assert not any(tmp_path.iterdir())

    def test_is_left_out_with_its_pip_line_if_it_was_not(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "executorch", None)
        plan, (line,) = ExportOptions().plan()
        assert list(plan) == ["onnx", "torchscript"]
        assert "leave out executorch: backend 'executorch' needs executorch" in line
        assert "pip install 'deploy-bias[executorch]'" in line


def test_the_order_of_the_backends_changes_nothing():
    options = [
        ExportOptions(backends=names) for names in (("onnx", "executorch"), ("executorch", "onnx"))
    ]
    assert options[0] == options[1]
    assert list(options[0].plan()[0]) == list(options[1].plan()[0])
