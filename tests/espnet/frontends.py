"""Pairs of our frontend and ESPnet's with the same weights, and recordings of people."""

import importlib.util
import sys
import types
import wave

import numpy as np
import torch
import yaml

from deploy_bias.model.frontend import DefaultFrontend, get_frontend, get_normalize
from tests.espnet.models import DIGITS

# ESPnet's frontend imports its beamformer, and that torchaudio, which it needs only to beamform.
# torchaudio's wheels want the libraries of one kind of torch, so it is no test dependency.
_ABSENT = importlib.util.find_spec("torchaudio") is None
if _ABSENT:
    sys.modules["torchaudio"] = types.ModuleType("torchaudio")
from espnet2.asr.frontend.default import DefaultFrontend as EspnetFrontend  # noqa: E402
from espnet2.layers.global_mvn import GlobalMVN as EspnetGlobalMVN  # noqa: E402

if _ABSENT:
    del sys.modules["torchaudio"]

WAVS = sorted((DIGITS / "wavs").glob("*.wav"))
SETTINGS = {
    "digits": {"fs": 8000, "n_fft": 256, "win_length": 256, "hop_length": 64, "n_mels": 40},
    "default": {},
    "recipe": {"fs": "16k", "n_fft": 512, "win_length": 400, "hop_length": 160},
    "large": {"fs": "22.05k", "n_fft": 1024, "hop_length": 256, "fmin": 80, "fmax": 7600},
    "small": {"fs": 8000, "n_fft": 200, "hop_length": 80, "n_mels": 23, "htk": True},
    "odd": {"n_fft": 255, "win_length": 200, "hop_length": 60, "n_mels": 20, "window": "hamming"},
    "flat": {"n_fft": 256, "hop_length": 100, "n_mels": 20, "window": None, "normalized": True},
}


def recording(path):
    """Samples (1, S) float32 in [-1, 1), 8 kHz."""
    with wave.open(str(path)) as wav:
        pcm = np.frombuffer(wav.readframes(wav.getnframes()), "<i2")
    return torch.from_numpy(pcm.astype(np.float32) / 32768).unsqueeze(0)


def recordings():
    return [recording(path) for path in WAVS]


def pair(**options):
    """Our frontend and ESPnet's; the state_dict goes over strictly in both directions."""
    theirs = EspnetFrontend(**options).eval()
    ours = DefaultFrontend(**options).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    return ours, theirs


def digits():
    """Our frontend and normalisation of the shipped model, and ESPnet's."""
    config = yaml.safe_load((DIGITS / "config.yaml").read_text())
    checkpoint = torch.load(DIGITS / "valid.loss.best.pth", weights_only=True)
    stats = DIGITS / config["normalize_conf"]["stats_file"]
    ours = (
        get_frontend(config["frontend"], **config["frontend_conf"]),
        get_normalize(config["normalize"], stats_file=stats),
    )
    theirs = EspnetFrontend(**config["frontend_conf"]), EspnetGlobalMVN(stats)
    for modules in (ours, theirs):
        for prefix, module in zip(("frontend.", "normalize."), modules, strict=True):
            state = {
                name.removeprefix(prefix): tensor
                for name, tensor in checkpoint.items()
                if name.startswith(prefix)
            }
            module.eval().load_state_dict(state, strict=True)
    return ours, theirs


def espnet_features(frontend, samples, normalize=None):
    """What ESPnet's modules give for samples (B, S): features (B, T, M)."""
    features, lengths = frontend(samples, torch.full((samples.size(0),), samples.size(1)))
    return features if normalize is None else normalize(features, lengths)[0]


def exact(frontend, samples, normalize=None):
    """Our features in float64, and with the float64 window, by torch's fast transform."""
    features = frontend.double()(samples.double())
    features = features if normalize is None else normalize.double()(features)
    frontend.float()
    if normalize is not None:
        normalize.float()
    return features
