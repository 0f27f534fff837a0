"""ESPnet's recogniser, piece by piece: of the shipped model, and of any experiment."""

import functools

import numpy as np
import torch
import yaml
from espnet2.asr_transducer.encoder.encoder import Encoder

from deploy_bias.bundle.chunking import Chunking
from tests.deploy_bias.runtime.test_features import espnet_chunks
from tests.espnet.frontends import (
    DIGITS,
    WAVS,
    EspnetFrontend,
    EspnetGlobalMVN,
    espnet_features,
    recording,
)

RATE = 8000
LEFT_CONTEXT = 32
CONFIG = yaml.safe_load((DIGITS / "config.yaml").read_text())
NAMES = [path.stem for path in WAVS]


@functools.cache
def samples_of(name):
    """Samples (S,) float32 of a shipped recording."""
    return recording(DIGITS / "wavs" / f"{name}.wav")[0].numpy()


class Espnet:
    """The frontend, normalisation and encoder of an experiment folder, as Speech2Text drives them.

    The folder has what ESPnet's training leaves there, weights in valid.loss.best.pth.
    """

    def __init__(self, folder):
        self.config = config = yaml.safe_load((folder / "config.yaml").read_text())
        state = torch.load(folder / "valid.loss.best.pth", weights_only=True)
        conf = config["frontend_conf"]
        stats = folder / config["normalize_conf"]["stats_file"]
        self.frontend = _filled(EspnetFrontend(**conf), "frontend", state)
        self.normalize = _filled(EspnetGlobalMVN(stats), "normalize", state)
        encoder = Encoder(conf["n_mels"], **config["encoder_conf"])
        self.encoder = _filled(encoder, "encoder", state)
        # Or each call masks by a random chunk, in eval mode too. Speech2Text does the same.
        self.encoder.dynamic_chunk_training = False

    def chunking(self, milliseconds=640):
        """The chunks of the model."""
        conf = self.config["frontend_conf"]
        window = Chunking.samples_of(milliseconds, conf["fs"])
        factor = self.encoder.embed.subsampling_factor
        return Chunking(conf["n_fft"], conf["hop_length"], window, factor)

    @torch.no_grad()
    def chunks(self, samples, milliseconds=640):
        """Its features of each chunk of an utterance, and its encoder's frames of them."""
        pieces = espnet_chunks(
            self.config["frontend_conf"],
            self.chunking(milliseconds),
            milliseconds,
            samples,
            self.frontend,
            self.normalize,
        )
        self.encoder.reset_cache(LEFT_CONTEXT, torch.device("cpu"))
        done, found = 0, []
        for features in pieces:
            chunk, count = torch.from_numpy(features)[None], torch.tensor([len(features)])
            out = self.encoder.chunk_forward(chunk, count, torch.tensor([done]), LEFT_CONTEXT)[0]
            done += len(out)
            found.append((features, out.numpy()))
        return found

    @torch.no_grad()
    def whole(self, samples):
        """Its encoder's frames (T, D) of an utterance at once, without streaming."""
        utterance = torch.from_numpy(np.atleast_2d(samples))
        features = espnet_features(self.frontend, utterance, self.normalize)
        return self.encoder(features, torch.tensor([features.shape[1]]))[0][0].numpy()


def _filled(module, prefix, state):
    own = {
        name.removeprefix(f"{prefix}."): tensor
        for name, tensor in state.items()
        if name.startswith(f"{prefix}.")
    }
    module.load_state_dict(own, strict=True)
    return module.eval()


@functools.cache
def digits():
    """The shipped model."""
    return Espnet(DIGITS)


def encoder():
    """ESPnet's encoder of the shipped model."""
    return digits().encoder


def chunking(milliseconds=640):
    """The chunks of the shipped model."""
    return digits().chunking(milliseconds)


def encoder_chunks(samples, milliseconds=640):
    """See `Espnet.chunks`; of the shipped model."""
    return digits().chunks(samples, milliseconds)


@functools.cache
def encoder_pieces(name, milliseconds=640):
    """What ESPnet's encoder makes of each chunk of a recording: (n, D) float32 each."""
    return tuple(frames for _, frames in encoder_chunks(samples_of(name), milliseconds))
