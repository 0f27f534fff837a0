"""What is put into the app's assets: what a phone needs, whole, with an index."""

import hashlib
import json
import shutil

import pytest

from deploy_bias.bundle import Bundle
from deploy_bias.runtime import Recognizer


@pytest.fixture
def project(tmp_path):
    (tmp_path / "android_demo" / "app").mkdir(parents=True)
    return tmp_path / "android_demo"


def assets_of(project):
    return project / "app/src/main/assets"


def test_what_is_written(run, digits_bundle, project):
    status, out, _ = run("android", digits_bundle.folder, "--project", project)
    assert status == 0
    assert "installDebug" in out
    folder = assets_of(project)
    index = json.loads((folder / "index.json").read_text())
    assert {entry["path"] for entry in index["bundle"]} == {
        path.name for path in (folder / "bundle").iterdir()
    }
    for entry in index["bundle"]:
        data = (folder / "bundle" / entry["path"]).read_bytes()
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (entry["sha256"], entry["bytes"])
    assert not list(folder.rglob("*.pt"))
    assert index["recordings"].keys() == {p.name for p in (folder / "recordings").iterdir()}
    assert index["recordings"]["digits_55.wav"] == "five five"


def test_it_is_a_bundle_that_runs(run, digits_bundle, project):
    run("android", digits_bundle.folder, "--project", project)
    Recognizer(assets_of(project) / "bundle")


def test_an_older_bundle_is_replaced(run, digits_bundle, project):
    (assets_of(project) / "bundle").mkdir(parents=True)
    (assets_of(project) / "bundle" / "old.onnx").write_text("x")
    assert run("android", digits_bundle.folder, "--project", project)[0] == 0
    assert not (assets_of(project) / "bundle" / "old.onnx").exists()
    assert [path.name for path in assets_of(project).parent.iterdir()] == ["assets"]


def test_a_damaged_bundle_changes_nothing(run, digits_bundle, project, tmp_path):
    run("android", digits_bundle.folder, "--project", project)
    before = (assets_of(project) / "index.json").read_bytes()
    copy = shutil.copytree(digits_bundle.folder, tmp_path / "copy")
    (copy / "joiner.onnx").write_bytes(b"x")
    status, _, err = run("android", copy, "--project", project)
    assert status == 2
    assert "It was changed or cut" in err
    assert (assets_of(project) / "index.json").read_bytes() == before


def test_a_bundle_for_whole_utterances(run, offline_bundle, project):
    status, _, err = run("android", offline_bundle.folder, "--project", project)
    assert status == 2
    assert "export without --offline" in err


def test_a_folder_that_is_no_project(run, digits_bundle, tmp_path):
    status, _, err = run("android", digits_bundle.folder, "--project", tmp_path)
    assert status == 2
    assert "holds no app" in err


def test_the_index_changes_with_the_bundle(run, digits_bundle, project, tmp_path):
    run("android", digits_bundle.folder, "--project", project)
    first = json.loads((assets_of(project) / "index.json").read_text())["sha256"]
    copy = shutil.copytree(digits_bundle.folder, tmp_path / "copy")
    (copy / "parity.json").write_text((copy / "parity.json").read_text() + "\n")
    assert Bundle(copy)
    run("android", copy, "--project", project)
    assert json.loads((assets_of(project) / "index.json").read_text())["sha256"] != first
