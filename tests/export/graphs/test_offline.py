"""The graphs for whole utterances."""

import numpy as np
import onnxruntime
import pytest
import torch

from deploy_bias.bundle.contract import ModuleSpec
from deploy_bias.bundle.manifest import Label
from deploy_bias.bundle.settings import FrontendSettings
from deploy_bias.export.backends import exporter
from deploy_bias.export.graphs.offline import OfflineFrontendGraph, half_rate_speech
from deploy_bias.model.frontend import get_frontend


def onnx(graph):
    """Run a graph in ONNX Runtime."""

    def label(graphs):
        contracts = tuple(graph.contract for graph in graphs)
        return Label(exporter={}, weights_sha256="0" * 64, precision="fp32", graphs=contracts)

    (exported,) = exporter("onnx").export([graph], "fp32", label)
    session = onnxruntime.InferenceSession(exported.data, providers=["CPUExecutionProvider"])
    return lambda samples: session.run(None, {"samples": samples.numpy()})[0]


@pytest.fixture(scope="module")
def dead_bands():
    """A frontend of 16 kHz that divides by each utterance's deviation."""
    conf = {"fs": 16000, "n_mels": 80}
    frontend = get_frontend(**conf)
    state = {f"frontend.{name}": tensor for name, tensor in frontend.state_dict().items()}
    options = {
        "frontend_conf": conf,
        "normalize": "utterance_mvn",
        "normalize_conf": {"norm_vars": True},
    }
    settings = FrontendSettings(
        fs=16000, n_fft=512, hop_length=128, decoding_window=10240, subsampling_factor=4
    )
    spec = ModuleSpec(type="DefaultFrontend", weights="frontend", options=options)
    return OfflineFrontendGraph.make(spec, state, settings, "here")


def test_bands_that_never_change_are_zeros_everywhere(dead_bands):
    samples = half_rate_speech(16000)
    (case,) = dead_bands.cases()["speech of half the rate"]
    assert torch.equal(case.inputs["samples"], samples)
    with torch.no_grad():
        eager = dead_bands.eager(torch.float32)({"samples": samples})["features"][0]
    dead = (eager == 0).all(0)
    assert 10 < int(dead.sum()) < 40
    found = onnx(dead_bands)(samples)[0]
    assert (found[:, dead.numpy()] == 0).all()
    assert np.abs(found - eager.numpy()).max() < 1e-3


@pytest.mark.parametrize("fs", [8000, 16000, 22050])
def test_speech_of_half_the_rate(fs):
    samples = half_rate_speech(fs)[0]
    assert samples.dtype == torch.float32
    assert len(samples) / fs == pytest.approx(4.97, abs=0.01)
    assert 0.02 < float(samples.abs().max()) < 0.1
    spectrum = torch.fft.rfft(samples.double()).abs()
    assert float(spectrum[len(spectrum) // 2 + 1 :].max()) < 1e-6 * float(spectrum.max())
