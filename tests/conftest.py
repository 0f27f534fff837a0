"""Shared models and bundles. A bundle costs seconds, so each is exported once."""

import os
import sys
from importlib.resources import files
from pathlib import Path

import pytest
import torch
import yaml
from espnet2.asr_transducer.decoder.mega_decoder import MEGADecoder
from espnet2.asr_transducer.decoder.modules.mega import positional_bias as espnet
from espnet2.asr_transducer.joint_network import JointNetwork
from filelock import FileLock
from hypothesis import settings

from deploy_bias import RelativePositionBias, RotaryRelativePositionBias
from deploy_bias.bundle import Bundle
from deploy_bias.export import ExportOptions, export_bundle
from deploy_bias.export.cli import main
from tests.espnet.models import perturb

COMMAND = str(Path(sys.executable).with_name("deploy-bias"))
"""The installed command."""

torch.set_num_threads(1)
# A first call compiles and a busy machine stalls; no property here is about time.
settings.register_profile("deploy_bias", deadline=None)
settings.load_profile("deploy_bias")


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
def shared(tmp_path_factory):
    """Export a bundle for all workers: the first that asks does it, the others wait."""
    base = tmp_path_factory.getbasetemp()
    folder = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def make(name: str, source: Path, **options) -> Bundle:
        with FileLock(folder / f"{name}.lock"):
            if not (folder / name).exists():
                export_bundle(source, folder / name, ExportOptions(**options))
        return Bundle(folder / name)

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

    def make(vocab: int = 7, **options) -> tuple[Path, MEGADecoder]:
        torch.manual_seed(5)
        conf = {
            "block_size": 16,
            "linear_size": 24,
            "qk_size": 8,
            "v_size": 16,
            "num_heads": 2,
            "num_blocks": 2,
            "max_positions": 20,
            **options,
        }
        decoder = perturb(MEGADecoder(vocab, **conf))
        joint = perturb(JointNetwork(vocab, 12, conf["block_size"], joint_space_size=10))
        folder = tmp_path / "experiment"
        folder.mkdir()
        state = {
            f"{prefix}.{name}": tensor
            for prefix, module in (("decoder", decoder), ("joint_network", joint))
            for name, tensor in module.state_dict().items()
        }
        torch.save(state, folder / "valid.loss.best.pth")
        (folder / "config.yaml").write_text(
            yaml.safe_dump(
                {
                    "decoder": "mega",
                    "decoder_conf": conf,
                    "joint_network_conf": {"joint_space_size": 10},
                    "token_list": ["<blank>", *(f"t{i}" for i in range(1, vocab))],
                }
            )
        )
        return folder, decoder

    return make


BOTH = pytest.mark.parametrize(
    ("ours", "theirs", "arguments"),
    [
        (RelativePositionBias, espnet.RelativePositionBias, (64,)),
        (RotaryRelativePositionBias, espnet.RotaryRelativePositionBias, (16, 64)),
    ],
    ids=["simple", "rotary"],
)
