"""ESPnet's streaming recogniser with the weights of the shipped model, piece by piece."""

import functools

import torch
import yaml
from espnet2.asr_transducer.encoder.encoder import Encoder

from deploy_bias.chunking import Chunking
from tests.deploy_bias.frontends import DIGITS, WAVS, recording
from tests.deploy_bias.frontends import digits as frontends
from tests.deploy_bias.runtime.test_features import espnet_chunks

RATE = 8000
LEFT_CONTEXT = 32
CONFIG = yaml.safe_load((DIGITS / "config.yaml").read_text())


def chunking(milliseconds=640):
    """The chunks of the shipped model."""
    conf = CONFIG["frontend_conf"]
    window = Chunking.samples_of(milliseconds, RATE)
    return Chunking(conf["n_fft"], conf["hop_length"], window, 4)


@functools.cache
def samples_of(name):
    """Samples (S,) float32 of a shipped recording."""
    return recording(DIGITS / "wavs" / f"{name}.wav")[0].numpy()


NAMES = [path.stem for path in WAVS]


@functools.cache
def encoder_pieces(name, milliseconds=640):
    """What ESPnet's encoder makes of each chunk of a recording: (n, D) float32 each."""
    return tuple(frames for _, frames in encoder_chunks(samples_of(name), milliseconds))


@torch.no_grad()
def encoder_chunks(samples, milliseconds=640):
    """ESPnet's features of each chunk of an utterance, and its encoder's frames of them."""
    _, (frontend, normalize) = frontends()
    pieces = espnet_chunks(
        CONFIG["frontend_conf"], chunking(milliseconds), milliseconds, samples, frontend, normalize
    )
    encoder().reset_cache(LEFT_CONTEXT, torch.device("cpu"))
    done, found = 0, []
    for features in pieces:
        frames = (
            encoder()
            .chunk_forward(
                torch.from_numpy(features)[None],
                torch.tensor([len(features)]),
                torch.tensor([done]),
                LEFT_CONTEXT,
            )[0]
            .numpy()
        )
        done += len(frames)
        found.append((features, frames))
    return found


@functools.cache
def encoder():
    """ESPnet's encoder."""
    state = torch.load(DIGITS / "valid.loss.best.pth", weights_only=True)
    made = Encoder(CONFIG["frontend_conf"]["n_mels"], **CONFIG["encoder_conf"])
    own = {
        name.removeprefix("encoder."): tensor
        for name, tensor in state.items()
        if name.startswith("encoder.")
    }
    made.load_state_dict(own, strict=True)
    # Or each call masks by a random chunk, in eval mode too. Speech2Text does the same.
    made.dynamic_chunk_training = False
    return made.eval()
