"""A bundle that is not what it says is refused, in words."""

import hashlib
import json
import shutil

import pytest

from deploy_bias.bundle import Bundle
from deploy_bias.bundle.manifest import Manifest
from deploy_bias.errors import BackendError, BundleError
from deploy_bias.runtime import load, open_file


@pytest.fixture
def copy(digits_bundle, tmp_path):
    """A bundle that a test may change."""
    folder = tmp_path / "copy"
    shutil.copytree(digits_bundle.folder, folder)
    return folder


def edit(folder, change):
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_the_manifest_survives_a_round_trip(digits_bundle):
    text = (digits_bundle.folder / "manifest.json").read_bytes()
    assert Manifest.model_validate_json(text) == digits_bundle.manifest
    assert digits_bundle.manifest.backends == ("executorch", "onnx", "torchscript")


def test_every_file_is_listed_with_its_size(digits_bundle):
    manifest = digits_bundle.manifest
    for file in manifest.files:
        assert len(digits_bundle.read(file)) == file.bytes


def test_not_a_bundle(tmp_path):
    with pytest.raises(BundleError, match=r"holds no manifest\.json; expected a bundle"):
        Bundle(tmp_path)
    with pytest.raises(BundleError, match="is not a folder"):
        Bundle(tmp_path / "nowhere")


def test_a_manifest_that_cannot_be_read(tmp_path, monkeypatch):
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises(BundleError, match=r"cannot be read \(Is a directory\); expected a bundle"):
        Bundle(tmp_path)
    with pytest.raises(BundleError, match=r"cannot be read \(File name too long\)"):
        Bundle("x" * 300)
    with pytest.raises(BundleError, match=r"cannot be read \(embedded null byte\)"):
        Bundle("nul\0")

    def forbidden(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.read_bytes", forbidden)  # root may read everything
    with pytest.raises(BundleError, match=r"cannot be read \(Permission denied\)"):
        Bundle(tmp_path)


def test_a_file_that_cannot_be_read(digits_bundle, monkeypatch):
    bundle = Bundle(digits_bundle.folder)

    def forbidden(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.read_bytes", forbidden)
    with pytest.raises(BundleError, match=r"tokens\.txt: Permission denied; make it readable"):
        bundle.read(bundle.manifest.tokens)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[" * 200_000, "not JSON"),
        ("\xff", "not JSON"),
        ('{"format": "deploy_bias"}', "format_version must be an int, got None"),
        ('{"format": "deploy_bias", "format_version": "1"}', "must be an int, got '1'"),
        ('{"format": "deploy_bias", "format_version": true}', "must be an int, got True"),
        ('{"format": "deploy_bias", "format_version": 0}', "version 0, .* reads 2; export"),
        ("[]", "format is 'list'"),
        ('{"format": "sherpa"}', "format is 'sherpa', expected 'deploy_bias'"),
        (
            '{"format": "deploy_bias", "format_version": 99}',
            "version 99, .* reads 2; upgrade",
        ),
        ('{"format": "deploy_bias", "format_version": 1}', "version 1, .* reads 2; export again"),
        ('{"format": "deploy_bias", "format_version": 2}', "exporter: Field required"),
    ],
)
def test_a_manifest_that_is_not_ours(copy, text, message):
    (copy / "manifest.json").write_text(text, encoding="latin-1")
    with pytest.raises(BundleError, match=message):
        Bundle(copy)


def test_an_unknown_field_is_refused(copy):
    edit(copy, lambda manifest: manifest.update(surprise=1))
    with pytest.raises(BundleError, match="surprise"):
        Bundle(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda manifest: manifest.update(artifacts=[]), "artifacts: .*at least 1 item"),
        (lambda manifest: manifest["artifacts"][1].update(graphs=[]), r"artifacts\.1\.graphs"),
        (lambda manifest: manifest["weights"].update(sha256="x"), r"weights\.sha256"),
        (lambda manifest: manifest["weights"].update(bytes=-1), r"weights\.bytes"),
        (lambda manifest: manifest["weights"].update(path="a" * 300), r"weights\.path"),
        (lambda manifest: manifest.pop("vectors"), "vectors: Field required"),
    ],
)
def test_a_manifest_against_the_schema(copy, change, message):
    edit(copy, change)
    with pytest.raises(BundleError, match=message):
        Bundle(copy)


def test_one_changed_byte(copy):
    data = bytearray((copy / "bias.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (copy / "bias.onnx").write_bytes(data)
    with pytest.raises(BundleError, match="It was changed or cut"):
        load(copy, "onnx")


def test_a_size_that_differs(copy):
    edit(copy, lambda manifest: manifest["artifacts"][1].update(bytes=3))
    with pytest.raises(BundleError, match=r"the manifest says .*3 bytes"):
        load(copy, "onnx")


@pytest.mark.parametrize("path", ["../bias.onnx", "/etc/passwd", "a/../../b", "C:\\x", ""])
def test_a_path_that_leaves_the_folder(copy, path):
    edit(copy, lambda manifest: manifest["artifacts"][0].update(path=path))
    with pytest.raises(BundleError, match="leaves the bundle"):
        Bundle(copy)


def test_a_link_that_leaves_the_folder(copy, tmp_path):
    (copy / "bias.onnx").rename(tmp_path / "outside.onnx")
    (copy / "bias.onnx").symlink_to(tmp_path / "outside.onnx")
    with pytest.raises(BundleError, match="a link that leaves the bundle"):
        load(copy, "onnx")


def test_a_missing_file(copy):
    (copy / "bias.onnx").unlink()
    with pytest.raises(BundleError, match=r"bias\.onnx: missing, but the manifest lists it"):
        load(copy, "onnx")


@pytest.mark.parametrize("backend", ["onnx", "executorch", "torchscript"])
def test_a_truncated_file(copy, backend):
    artifact = Bundle(copy).artifacts(backend)[0]
    path = copy / artifact.path
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BundleError, match="It was changed or cut"):
        load(copy, backend)


@pytest.mark.parametrize("backend", ["onnx", "executorch", "torchscript"])
def test_a_corrupt_file_with_the_right_hash(copy, backend):
    artifact = Bundle(copy).artifacts(backend)[0]
    garbage = b"\0" * artifact.bytes
    (copy / artifact.path).write_bytes(garbage)

    def rehash(manifest):
        for entry in manifest["artifacts"]:
            if entry["path"] == artifact.path:
                entry["sha256"] = hashlib.sha256(garbage).hexdigest()

    edit(copy, rehash)
    with pytest.raises(BundleError, match="cannot load it"):
        load(copy, backend)


@pytest.mark.parametrize("backend", ["onnx", "executorch", "torchscript"])
def test_an_artifact_from_another_export(copy, backend):
    edit(copy, lambda manifest: manifest["exporter"].update(torch="1.0"))
    with pytest.raises(BundleError, match="its own exporter differs from the manifest's"):
        load(copy, backend)


def test_weights_that_are_not_safetensors(copy):
    garbage = b"garbage"
    (copy / "weights.safetensors").write_bytes(garbage)
    digest = hashlib.sha256(garbage).hexdigest()
    edit(copy, lambda manifest: manifest["weights"].update(sha256=digest, bytes=len(garbage)))
    bundle = Bundle(copy)
    with pytest.raises(BundleError, match="not safetensors"):
        bundle.tensors(bundle.manifest.weights)


def test_a_backend_that_was_not_exported(dynamic_bundle):
    with pytest.raises(
        BackendError, match=r"no artifact for backend 'executorch' .*it has onnx \(fp32\)"
    ):
        load(dynamic_bundle, "executorch")


@pytest.mark.parametrize(
    ("name", "graphs"),
    [
        ("bias.onnx", {"bias"}),
        ("joiner.pt", {"joint"}),
        ("model.pte", {"frontend", "encoder", "bias", "decoder", "joint"}),
    ],
)
def test_a_lone_file_explains_itself(digits_bundle, name, graphs):
    label = open_file(digits_bundle.folder / name)
    assert {graph.name for graph in label.graphs} == graphs
    assert label.weights_sha256 == digits_bundle.manifest.weights.sha256
    assert label.exporter == digits_bundle.manifest.exporter


def test_a_lone_file_of_somebody_else(tmp_path):
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    twin = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [value], [twin])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    (tmp_path / "foreign.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(BundleError, match="carries no deploy_bias label"):
        open_file(tmp_path / "foreign.onnx")
    with pytest.raises(BundleError, match=r"nowhere\.onnx: no such file"):
        open_file(tmp_path / "nowhere.onnx")
    with pytest.raises(BundleError, match=r"ends in \.pte, \.onnx, \.pt"):
        open_file(tmp_path / "foreign.tflite")
