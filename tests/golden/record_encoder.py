"""Record what ESPnet's encoder makes of real speech, for tests and demonstrations without it.

    python tests/golden/record_encoder.py WAVS

writes deploy_bias/data/digits/encoder_out/NAME.npy for each NAME.wav of a folder of 8 kHz
recordings: (T, D) float32, of the shipped model, offline, greedy decoding printed beside. Besides
the tests' packages it needs librosa, torch_complex, humanfriendly, soundfile and torchaudio, which
ESPnet's frontend imports.
"""

import sys
from pathlib import Path

import numpy as np
import soundfile
import torch
import yaml
from espnet2.asr.frontend.default import DefaultFrontend
from espnet2.asr_transducer.decoder.mega_decoder import MEGADecoder
from espnet2.asr_transducer.encoder.encoder import Encoder
from espnet2.asr_transducer.joint_network import JointNetwork
from espnet2.layers.global_mvn import GlobalMVN

MODEL = Path(__file__).parents[2] / "deploy_bias" / "data" / "digits"


class Recogniser:
    """ESPnet's own modules with the weights of the shipped model."""

    def __init__(self) -> None:
        config = yaml.safe_load((MODEL / "config.yaml").read_text())
        state = torch.load(MODEL / "valid.loss.best.pth", weights_only=True)

        def load(module, prefix):
            own = {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
            module.load_state_dict(own)
            return module.eval()

        self.tokens = config["token_list"]
        self.frontend = DefaultFrontend(**config["frontend_conf"]).eval()
        self.normalize = GlobalMVN(MODEL / config["normalize_conf"]["stats_file"]).eval()
        features = config["frontend_conf"]["n_mels"]
        self.encoder = load(Encoder(features, **config["encoder_conf"]), "encoder.")
        # Or each call masks by a random chunk, in eval mode too. Speech2Text does the same.
        self.encoder.dynamic_chunk_training = False
        decoder = MEGADecoder(len(self.tokens), **config["decoder_conf"])
        self.decoder = load(decoder, "decoder.")
        size = state["joint_network.lin_enc.weight"].shape[1]
        joint = JointNetwork(
            len(self.tokens), size, decoder.output_size, **config["joint_network_conf"]
        )
        self.joint = load(joint, "joint_network.")

    @torch.no_grad()
    def encode(self, samples: np.ndarray) -> torch.Tensor:
        """Return (T, D): the frames of one utterance."""
        lengths = torch.tensor([len(samples)])
        features, lengths = self.frontend(torch.from_numpy(samples)[None], lengths)
        features, lengths = self.normalize(features, lengths)
        frames, _ = self.encoder(features, lengths)
        return frames[0]

    @torch.no_grad()
    def greedy(self, frames: torch.Tensor) -> str:
        """Return the words: at most one label a frame, as ESPnet's beam search of size 1."""
        state = self.decoder.init_state(1)
        out, state = self.decoder.inference(torch.tensor([[0]]), state)
        words = []
        for frame in frames:
            label = int(self.joint(frame, out[0, -1] if out.dim() == 3 else out[0]).argmax())
            if label:
                words.append(self.tokens[label])
                out, state = self.decoder.inference(torch.tensor([[label]]), state)
        return " ".join(words)


if __name__ == "__main__":
    recogniser = Recogniser()
    (MODEL / "encoder_out").mkdir(exist_ok=True)
    for path in sorted(Path(sys.argv[1]).glob("*.wav")):
        samples, rate = soundfile.read(path, dtype="float32")
        assert rate == 8000, path
        frames = recogniser.encode(samples)
        np.save(MODEL / "encoder_out" / f"{path.stem}.npy", frames.numpy())
        print(path.stem, tuple(frames.shape), recogniser.greedy(frames))
