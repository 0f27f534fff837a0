"""A manifest that does not list all of a bundle proves nothing."""

import json
import shutil

import pytest

from deploy_bias.bundle import Bundle
from deploy_bias.errors import BundleError
from deploy_bias.export import verify
from deploy_bias.export.parity.completeness import check_complete


@pytest.fixture
def copy(digits_bundle, tmp_path):
    """A bundle without the entry of one artifact."""
    folder = shutil.copytree(digits_bundle.folder, tmp_path / "copy")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["artifacts"] = [a for a in manifest["artifacts"] if a["path"] != "decoder.onnx"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.mark.parametrize("name", ["digits_bundle", "offline_bundle", "int8_bundle"])
def test_what_was_exported_is_complete(request, name):
    check_complete(request.getfixturevalue(name))


def test_an_entry_that_was_removed(copy):
    with pytest.raises(BundleError, match=r"holds decoder\.onnx, which the manifest does not list"):
        verify(Bundle(copy))


def test_an_entry_that_was_removed_with_its_file(copy):
    (copy / "decoder.onnx").unlink()
    with pytest.raises(BundleError, match="lists no decoder on onnx, fp32"):
        verify(Bundle(copy))
