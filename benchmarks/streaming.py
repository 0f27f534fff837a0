"""Streaming recognition at ESPnet's recipe size: seconds of computation for a second of audio.

ESPnet's eager modules, as its Speech2Text drives them, against a bundle; random weights, the
shipped recordings at 16 kHz, decoding windows of 640 ms. Random weights speak no language:
searched, they give no label at all or labels without end. So both sides ask the joint network at
every frame and are fed the same label at every tenth, three a second, as in speech.
"""

import sys
import tempfile
import types
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from unittest.mock import patch

import numpy as np
import soundfile
import soxr
import torch
import yaml
from espnet2.asr_transducer.decoder.mega_decoder import MEGADecoder
from espnet2.asr_transducer.encoder.encoder import Encoder
from espnet2.asr_transducer.frontend.online_audio_processor import OnlineAudioProcessor
from espnet2.asr_transducer.joint_network import JointNetwork
from executorch.extension.pybindings import portable_lib

from benchmarks.decoder_step import RECIPE, VOCAB
from benchmarks.timing import Row, medians, ratio, time_in_turn
from deploy_bias.export import ExportOptions, export_bundle
from deploy_bias.runtime import Recognizer, Search
from deploy_bias.runtime.search import SEARCHES
from deploy_bias.runtime.search.hypothesis import Hypothesis
from deploy_bias.runtime.search.search import Advance
from tests.export.unproven import UnprovenGate

FS, WINDOW_MS, LEFT_CONTEXT = 16000, 640, 32
SECONDS = 10
FRAMES_A_LABEL = 10
FRONTEND = {"fs": FS, "n_fft": 512, "hop_length": 128, "n_mels": 80}
ENCODER = {
    "main_conf": {"dynamic_chunk_training": True},
    "input_conf": {"vgg_like": True, "subsampling_factor": 4},
    "body_conf": [
        {
            "block_type": "ebranchformer",
            "hidden_size": 256,
            "linear_size": 1024,
            "heads": 4,
            "conv_mod_kernel_size": 31,
            "num_blocks": 14,
        }
    ],
}
AT_LEAST = {"fp32": 2.0, "int8": 3.0}
MOST_FACTOR = 0.1
"""Of int8."""


def rows() -> list[Row]:
    portable_lib._unsafe_reset_threadpool(1)
    samples = _samples()
    model = _Espnet()
    with tempfile.TemporaryDirectory() as scratch:
        experiment, bundle = Path(scratch) / "experiment", Path(scratch) / "bundle"
        model.save(experiment)
        wanted = {"backends": ["onnx", "executorch"], "precisions": ["fp32", "int8"]}
        # The tests prove such models; here that would take ten minutes.
        with patch("deploy_bias.export.bundle.Gate", UnprovenGate):
            export_bundle(experiment, bundle, ExportOptions(**wanted))
        candidates: dict[str, Callable[[], object]] = {"espnet": lambda: model.decode(samples)}
        for backend in ("onnx", "executorch"):
            for precision in ("fp32", "int8"):
                with patch.dict(SEARCHES, fed=_Fed):
                    recognizer = Recognizer(bundle, backend, "fed", precision=precision, lead_in=0)
                candidates[f"{backend} {precision}"] = lambda r=recognizer: r.decode(samples, FS)
        with patch.dict(SEARCHES, fed=_Fed):
            seconds = time_in_turn(candidates, rounds=7)
    factors = {name: ms / 1e3 / SECONDS for name, ms in medians(seconds).items()}
    found = []
    for name in list(candidates)[1:]:
        pair = {which: medians(seconds)[which] for which in ("espnet", name)}
        title = f"{SECONDS} s of streaming speech, recipe size, {name}"
        least = AT_LEAST[name.split()[1]]
        gain = ratio(seconds, "espnet", name)
        found.append(Row(title, pair, ("espnet", name), gain, at_least=least, notes=factors))
        if name.endswith("int8"):
            parts = ("computed", "audio")
            found.append(
                Row(f"real-time factor, {name}", {}, parts, factors[name], at_most=MOST_FACTOR)
            )
    return found


def _samples() -> np.ndarray:
    wavs = sorted(Path(str(files("deploy_bias"))).joinpath("data/digits/wavs").glob("*.wav"))
    spoken = np.concatenate([soundfile.read(path, dtype="float32")[0] for path in wavs])
    return soxr.resample(spoken, 8000, FS)[: SECONDS * FS]


def _label_of(frame: int) -> int:
    return 1 + frame % (VOCAB - 1) if frame % FRAMES_A_LABEL == 0 else 0


class _Fed(Search):
    """Take the label that is due, whatever the joint network says."""

    def _advance(self, frame: int, hypotheses: list[Hypothesis]) -> Advance:
        (only,) = hypotheses
        (after,) = yield from self._ask([only], frame)
        label = _label_of(frame)
        score = float(after.log_probs[label])
        return [only.longer(label, score, frame) if label else only.blank(score)]


class _Espnet:
    """The modules of a transducer, with random weights."""

    def __init__(self) -> None:
        # ESPnet's frontend imports it for an enhancement that is not used.
        sys.modules.setdefault("torchaudio", types.ModuleType("torchaudio"))
        from espnet2.asr.frontend.default import DefaultFrontend

        torch.manual_seed(0)
        self.frontend = DefaultFrontend(**FRONTEND).eval()
        self.encoder = Encoder(FRONTEND["n_mels"], **ENCODER).eval()
        self.decoder = MEGADecoder(VOCAB, **RECIPE).eval()
        self.joint = JointNetwork(VOCAB, 256, 256).eval()
        # Or it masks by a random chunk in eval mode too; Speech2Text does the same.
        self.encoder.dynamic_chunk_training = False

    def save(self, folder: Path) -> None:
        folder.mkdir()
        parts = {
            "frontend": self.frontend,
            "encoder": self.encoder,
            "decoder": self.decoder,
            "joint_network": self.joint,
        }
        state = {
            f"{prefix}.{name}": tensor
            for prefix, module in parts.items()
            for name, tensor in module.state_dict().items()
        }
        torch.save(state, folder / "valid.loss.best.pth")
        config = {
            "frontend": "default",
            "frontend_conf": FRONTEND,
            "normalize": None,
            "encoder_conf": ENCODER,
            "decoder": "mega",
            "decoder_conf": RECIPE,
            "joint_network_conf": {"joint_space_size": 256},
            "token_type": "word",
            "token_list": ["<blank>", *(f"t{i}" for i in range(1, VOCAB))],
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(config))

    @torch.no_grad()
    def decode(self, samples: np.ndarray) -> object:
        device = torch.device("cpu")
        processor = OnlineAudioProcessor(
            self.frontend, None, WINDOW_MS, 4, FRONTEND, device, audio_sampling_rate=FS
        )
        self.encoder.reset_cache(LEFT_CONTEXT, device)
        size, done, frame, score = WINDOW_MS * FS // 1000, 0, 0, 0.0
        blank = torch.zeros(1, 1, dtype=torch.long)
        out, state = self.decoder.inference(blank, self.decoder.init_state(1))
        for first in range(0, len(samples) + 1, size):
            piece = torch.from_numpy(samples[first : first + size])
            final = len(piece) < size
            features, lengths = processor.compute_features(piece, final)
            frames = self.encoder.chunk_forward(
                features, lengths, torch.tensor([done]), LEFT_CONTEXT
            )
            done += frames.shape[1]
            for encoder_out in frames[0]:
                log_probs = torch.log_softmax(self.joint(encoder_out, out[0, -1]), dim=-1)
                label = _label_of(frame)
                score += float(log_probs[label])
                if label:
                    out, state = self.decoder.inference(torch.tensor([[label]]), state)
                frame += 1
        return score
