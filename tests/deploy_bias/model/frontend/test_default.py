"""Whole utterances: ESPnet's features to the last bit, and what is refused."""

import inspect

import pytest
import torch
from torch.export import Dim

from deploy_bias.model.frontend import DefaultFrontend, get_frontend
from tests.espnet.frontends import (
    SETTINGS,
    EspnetFrontend,
    digits,
    espnet_features,
    pair,
    recordings,
)

ALL = pytest.mark.parametrize("setting", SETTINGS)


@ALL
def test_equals_espnet(setting):
    ours, theirs = pair(**SETTINGS[setting])
    for samples in (0.1 * torch.randn(2, 5003), torch.zeros(1, 1000), *recordings()[:2]):
        assert torch.equal(ours(samples), espnet_features(theirs, samples))


def test_without_centring():
    ours, theirs = pair(n_fft=256, hop_length=100, center=False)
    samples = torch.randn(1, 1000)
    assert torch.equal(ours(samples), espnet_features(theirs, samples))
    assert ours(samples).shape == (1, 8, 80)


@ALL
def test_starts_as_espnet_does(setting):
    theirs = EspnetFrontend(**SETTINGS[setting]).state_dict()
    ours = DefaultFrontend(**SETTINGS[setting]).state_dict()
    assert list(ours) == list(theirs) == ["logmel.melmat"]
    assert torch.equal(ours["logmel.melmat"], theirs["logmel.melmat"])


def test_has_espnets_options_and_defaults():
    def defaults(kind):
        options = inspect.signature(kind.__init__).parameters.values()
        return {option.name: option.default for option in options}

    # ESPnet's default frontend_conf sets nothing of what we refuse.
    assert defaults(DefaultFrontend) == defaults(EspnetFrontend) | {"frontend_conf": None}
    DefaultFrontend(frontend_conf=defaults(EspnetFrontend)["frontend_conf"])


def test_the_shipped_model_on_recordings():
    (frontend, normalize), theirs = digits()
    for samples in recordings():
        expected = espnet_features(theirs[0], samples, theirs[1])
        assert torch.equal(normalize(frontend(samples)), expected)


class TestExports:
    """Utterances of any length, where the runtime has a Fourier transform (ExecuTorch has not)."""

    def test_torch_export(self):
        module, shapes = offline()
        program = torch.export.export(module, (recordings()[0],), dynamic_shapes=shapes)
        for samples in recordings():
            assert torch.equal(program.module()(samples), module(samples))

    def test_onnx_runtime(self, tmp_path):
        import onnxruntime

        module, shapes = offline()
        path = tmp_path / "frontend.onnx"
        program = torch.onnx.export(
            module,
            (recordings()[0],),
            dynamo=True,
            opset_version=20,
            dynamic_shapes=shapes,
            verbose=False,
        )
        program.save(path)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (given,) = session.get_inputs()
        for samples in recordings():
            (features,) = session.run(None, {given.name: samples.numpy()})
            torch.testing.assert_close(
                torch.from_numpy(features), module(samples), atol=2e-3, rtol=0
            )

    def test_torchscript(self):
        module, _ = offline()
        traced = torch.jit.trace(module, recordings()[0])
        for samples in recordings():
            assert torch.equal(traced(samples), module(samples))


def offline():
    """The shipped model's frontend and normalisation, and the shapes that it takes."""
    frontend, normalize = digits()[0]
    return torch.nn.Sequential(frontend, normalize).eval(), ({1: Dim("samples", min=129)},)


@pytest.mark.parametrize("samples", [128, 50])
def test_an_utterance_too_short_to_reflect(samples):
    with pytest.raises(ValueError, match=rf"at least 129 samples, got \(1, {samples}\)"):
        DefaultFrontend(n_fft=256)(torch.zeros(1, samples))


def test_several_channels():
    with pytest.raises(ValueError, match=r"must be \(batch, samples\)"):
        DefaultFrontend()(torch.zeros(1, 1000, 2))


@pytest.mark.parametrize(
    ("fs", "expected"), [("16k", 16000), ("8000", 8000), ("44.1 kHz", 44100), (22050, 22050)]
)
def test_samples_a_second(fs, expected):
    assert DefaultFrontend(fs=fs).fs == EspnetFrontend(fs=fs).logmel.mel_options["sr"] == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frontend_conf": {"use_wpe": True}}, r"frontend_conf\.use_wpe is not supported"),
        ({"frontend_conf": {"use_beamformer": True}}, r"frontend_conf\.use_beamformer is not"),
        ({"apply_stft": False}, "apply_stft must be true"),
        ({"onesided": False}, "onesided must be true"),
        ({"window": "parzen"}, "window must be one of bartlett.*kaiser or null, got 'parzen'"),
        ({"n_fft": 0}, "n_fft must be at least 1, got 0"),
        ({"n_mels": 0}, "n_mels must be at least 1, got 0"),
        ({"win_length": 513}, r"win_length must be 1 to n_fft \(512\), got 513"),
        ({"hop_length": 0}, r"hop_length must be 1 to n_fft \(512\), got 0"),
        ({"fmin": 8000}, r"less than fmax, got 8000 and 8000\.0"),
        ({"fs": "sixteen"}, "fs must be a number .* or as '16k', got 'sixteen'"),
        ({"fs": 0}, "fs must be at least 1, got 0"),
        ({"dither": 1.0}, "frontend option 'dither' is unknown, supported: fs, n_fft.*apply_stft"),
    ],
    ids=str,
)
def test_what_is_not_supported(options, message):
    with pytest.raises(ValueError, match=message):
        get_frontend("default", **options)


def test_another_frontend():
    with pytest.raises(ValueError, match="frontend must be 'default', got 'sliding_window'"):
        get_frontend("sliding_window")
