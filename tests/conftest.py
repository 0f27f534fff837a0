"""Shared models and bundles. A bundle costs seconds, so each is exported once."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from espnet2.asr_transducer.decoder.mega_decoder import MEGADecoder
from espnet2.asr_transducer.decoder.modules.mega import positional_bias as espnet
from filelock import FileLock
from hypothesis import settings

from deploy_bias import RelativePositionBias, RotaryRelativePositionBias
from deploy_bias.bundle import Bundle
from deploy_bias.export import ExportOptions, export_bundle
from deploy_bias.export.cli import main
from tests.export.unproven import UnprovenGate

COMMAND = str(Path(sys.executable).with_name("deploy-bias"))
"""The installed command."""

torch.set_num_threads(1)
# A first call compiles and a busy machine stalls; no property here is about time.
settings.register_profile("deploy_bias", deadline=None)
settings.load_profile("deploy_bias")


@pytest.hookimpl(trylast=True)  # after the order was made random
def pytest_collection_modifyitems(items):
    """Begin with what exports: short files fill the gaps that long ones would leave at the end."""
    exports = ("tests/export/", "tests/deploy_bias/runtime/recognizer/", "tests/deploy_bias/cli/")
    items.sort(key=lambda item: not item.nodeid.startswith(exports))


@pytest.fixture(autouse=True)
def _seed():
    """The same random parameters in any order of the tests."""
    torch.manual_seed(0)


@pytest.fixture
def run(monkeypatch, capfd):
    """Run the command in this process; return exit status, stdout and stderr."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["deploy-bias", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        written = capfd.readouterr()
        return stop.value.code or 0, written.out, written.err

    return call


@pytest.fixture(scope="session")
def digits() -> Path:
    """The experiment folder that ships in the package."""
    return Path(str(files("deploy_bias"))) / "data/digits"


@pytest.fixture(scope="session")
def once(tmp_path_factory):
    """Fill a folder for all workers: the first that asks does it, the others wait."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def make(name: str, fill: Callable[[Path], object]) -> Path:
        folder = shared / name
        with FileLock(shared / f"{name}.lock"):
            if not folder.exists():
                scratch = shared / f"{name}.part"
                shutil.rmtree(scratch, ignore_errors=True)  # of one that failed
                scratch.mkdir()
                fill(scratch)
                scratch.rename(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def shared(once):
    """Export a bundle for all workers."""

    def make(name: str, source: Path, **options) -> Bundle:
        return Bundle(once(name, lambda to: export_bundle(source, to, ExportOptions(**options))))

    return make


@pytest.fixture(scope="session")
def digits_bundle(digits, shared) -> Bundle:
    """The shipped model on all backends. Tests that change files copy it first."""
    return shared("digits", digits)


@pytest.fixture(scope="session")
def digits_bundle_320ms(digits, shared) -> Bundle:
    """The shipped model with a decoding window of 320 ms, ONNX only."""
    return shared("digits-320ms", digits, backends=["onnx"], chunk_ms=320)


@pytest.fixture(scope="session")
def int8_bundle(digits, shared) -> Bundle:
    """The shipped model in int8, on both runtimes that have it."""
    wanted = {"backends": ["onnx", "executorch"], "precisions": ["int8"]}
    return shared("digits-int8", digits, **wanted)


@pytest.fixture(scope="session")
def offline_bundle(digits, shared) -> Bundle:
    """The shipped model for whole utterances, ONNX, and what TorchScript has of it."""
    wanted = {"backends": ["onnx", "torchscript"], "offline": True}
    return shared("digits-offline", digits, **wanted)


class Demo(NamedTuple):
    """The folder that `deploy-bias demo` was run in, and what it printed."""

    folder: Path
    stdout: str
    stderr: str


@pytest.fixture(scope="session")
def demo(once) -> Demo:
    """The demo, run as it is installed."""

    def run(folder: Path) -> None:
        work = folder / "work"
        work.mkdir()
        done = subprocess.run(
            [COMMAND, "demo"],
            cwd=work,
            env={**os.environ, "COLUMNS": "80", "PYTHONHASHSEED": "77"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        (folder / "stdout").write_text(done.stdout)
        (folder / "stderr").write_text(done.stderr)

    folder = once("demo", run)
    return Demo(folder / "work", *((folder / name).read_text() for name in ("stdout", "stderr")))


@pytest.fixture(scope="session")
def small_experiment(tmp_path_factory) -> Path:
    """The folder of a random decoder of one block, without an encoder."""
    from tests.espnet.experiments import write_mega

    folder = tmp_path_factory.mktemp("experiments") / "small"
    write_mega(folder, num_blocks=1)
    return folder


@pytest.fixture(scope="session")
def small_bundle(small_experiment, shared) -> Bundle:
    """That decoder on all backends: verified in a few seconds. Tests that change files copy it."""
    return shared("small", small_experiment)


@pytest.fixture
def export_unproven(monkeypatch):
    """Write a bundle without proof: parity is not what is looked at, or is lacking on purpose."""

    def export(source, folder: Path, **options) -> Bundle:
        with monkeypatch.context() as patch:
            patch.setattr("deploy_bias.export.bundle.Gate", UnprovenGate)
            export_bundle(source, folder, ExportOptions(**options))
        return Bundle(folder)

    return export


@pytest.fixture(scope="session")
def dynamic_bundle(tmp_path_factory) -> Bundle:
    """A small simple bias with a dynamic length, ONNX only."""
    folder = tmp_path_factory.mktemp("bundles") / "dynamic"
    torch.manual_seed(3)
    export_bundle(RelativePositionBias(37), folder, ExportOptions(backends=["onnx"], dynamic=True))
    return Bundle(folder)


@pytest.fixture
def experiment(tmp_path):
    """Make an ESPnet experiment folder with a random decoder of the given options."""

    from tests.espnet.experiments import write_mega

    def make(vocab: int = 7, **options) -> tuple[Path, MEGADecoder]:
        folder = tmp_path / "experiment"
        return folder, write_mega(folder, vocab, **options)

    return make


BOTH = pytest.mark.parametrize(
    ("ours", "theirs", "arguments"),
    [
        (RelativePositionBias, espnet.RelativePositionBias, (64,)),
        (RotaryRelativePositionBias, espnet.RotaryRelativePositionBias, (16, 64)),
    ],
    ids=["simple", "rotary"],
)
