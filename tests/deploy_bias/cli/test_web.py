"""What `deploy-bias web` writes: the page, the runtime of the pinned version and the bundle."""

import json
import re
import shutil
from pathlib import Path

import pytest

from deploy_bias.bundle import Bundle
from deploy_bias.cli.web import PAGE, RUNTIME
from deploy_bias.runtime import Recognizer

ROOT = Path(__file__).parents[3]
PACKAGE = json.loads((PAGE / "package.json").read_text())
VERSION = PACKAGE["dependencies"]["onnxruntime-web"]


@pytest.fixture
def runtime(tmp_path):
    """A folder with the names of onnxruntime-web's files."""
    folder = tmp_path / "node_modules" / "onnxruntime-web"
    (folder / "dist").mkdir(parents=True)
    for name in RUNTIME:
        (folder / "dist" / name).write_text(name)
    (folder / "package.json").write_text(json.dumps({"version": VERSION}))
    return folder


def test_what_is_written(run, digits_bundle, runtime, tmp_path):
    site = tmp_path / "site"
    status, out, _ = run("web", digits_bundle.folder, "-o", site, "--runtime", runtime)
    assert status == 0
    assert f"python3 -m http.server --bind 127.0.0.1 --directory {site}" in " ".join(out.split())
    about = json.loads((site / "site.json").read_text())
    assert about["recordings"] == sorted(path.name for path in (site / "recordings").iterdir())
    assert not list(site.rglob("*.pt*"))
    Recognizer(site / "bundle")


def test_every_file_that_the_page_names_is_there(run, digits_bundle, runtime, tmp_path):
    site = tmp_path / "site"
    run("web", digits_bundle.folder, "-o", site, "--runtime", runtime)
    for path in [site / "index.html", *site.rglob("*.js")]:
        for name in re.findall(r'(?:from|href=|src=) ?"([^"]+\.\w+)"', path.read_text()):
            assert (path.parent / name).is_file(), (path, name)


def test_a_runtime_in_node_modules_is_found(run, digits_bundle, runtime, tmp_path, monkeypatch):
    (tmp_path / "deeper").mkdir()
    monkeypatch.chdir(tmp_path / "deeper")
    assert run("web", digits_bundle.folder)[0] == 0
    assert (tmp_path / "deeper/site/ort" / RUNTIME[0]).read_text() == RUNTIME[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (shutil.rmtree, f"onnxruntime-web {VERSION}, which the page runs"),
        (
            lambda folder: (folder / "package.json").write_text('{"version": "1.0.0"}'),
            f"is version 1.0.0, and the page runs {VERSION}",
        ),
        (lambda folder: (folder / "dist" / RUNTIME[1]).unlink(), f"lacks dist/{RUNTIME[1]}"),
    ],
    ids=["missing", "another version", "a file missing"],
)
def test_a_runtime_that_does_not_fit(run, digits_bundle, runtime, tmp_path, change, message):
    change(runtime)
    status, _, err = run("web", digits_bundle.folder, "-o", tmp_path / "s", "--runtime", runtime)
    assert status == 2
    assert message in err
    assert f"npm install --ignore-scripts onnxruntime-web@{VERSION}" in err
    assert not (tmp_path / "s").exists()


def test_a_folder_that_holds_something_else_is_kept(run, digits_bundle, runtime, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    status, _, err = run("web", digits_bundle.folder, "-o", tmp_path / "mine", "--runtime", runtime)
    assert status == 2
    assert "holds something else than a site" in err
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "x"


def test_a_site_is_replaced(run, digits_bundle, runtime, tmp_path):
    site = tmp_path / "site"
    for _ in range(2):
        assert run("web", digits_bundle.folder, "-o", site, "--runtime", runtime)[0] == 0
        assert not (site / "old").exists()
        (site / "old").write_text("x")


def test_a_bundle_for_whole_utterances(run, offline_bundle, runtime, tmp_path):
    status, _, err = run("web", offline_bundle.folder, "-o", tmp_path / "s", "--runtime", runtime)
    assert status == 2
    assert "and the page streams; export without --offline" in err


def test_a_damaged_bundle_writes_nothing(run, digits_bundle, runtime, tmp_path):
    copy = shutil.copytree(digits_bundle.folder, tmp_path / "copy")
    assert Bundle(copy)
    (copy / "joiner.onnx").write_bytes(b"x")
    status, _, err = run("web", copy, "-o", tmp_path / "s", "--runtime", runtime)
    assert status == 2
    assert "It was changed or cut" in err
    assert not (tmp_path / "s").exists()


def test_the_runtime_is_of_onnx_runtimes_version():
    assert f"onnxruntime=={VERSION}\n" in (ROOT / "constraints.txt").read_text()


def test_the_npm_package_has_the_version_of_the_python_package():
    assert f'version = "{PACKAGE["version"]}"' in (ROOT / "pyproject.toml").read_text()
