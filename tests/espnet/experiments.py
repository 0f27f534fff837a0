"""Experiment folders of random models, as ESPnet's training leaves them, from samples to labels."""

import copy
import shutil

import torch
import yaml
from espnet2.asr_transducer.encoder.encoder import Encoder
from espnet2.asr_transducer.joint_network import JointNetwork

from tests.espnet import models
from tests.espnet.decoders import ESPNET, KINDS, espnet_rollout
from tests.espnet.encoders import perturb
from tests.espnet.models import DIGITS, SMALL, random_labels
from tests.espnet.speech import Espnet, samples_of

WEIGHTS = "valid.loss.best.pth"
MEGA = {
    "block_size": 16,
    "linear_size": 24,
    "qk_size": 8,
    "v_size": 16,
    "num_heads": 2,
    "num_blocks": 2,
    "max_positions": 20,
}
DECODER = SMALL | {"num_blocks": 1, "max_positions": 128}


def write_experiment(
    folder, encoder_conf, decoder_conf=DECODER, vocab=12, joint_size=16, decoder="mega"
):
    """Write config and weights; the frontend and its statistics are those of the shipped model."""
    torch.manual_seed(0)
    config = yaml.safe_load((DIGITS / "config.yaml").read_text()) | {
        "encoder_conf": encoder_conf,
        "decoder": decoder,
        "decoder_conf": decoder_conf,
        "joint_network_conf": {"joint_space_size": joint_size},
        "token_list": ["<blank>", *(f"t{i}" for i in range(1, vocab))],
    }
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    shutil.copy(DIGITS / config["normalize_conf"]["stats_file"], folder)
    # ESPnet writes into its own.
    encoder = Encoder(config["frontend_conf"]["n_mels"], **copy.deepcopy(encoder_conf))
    shipped = torch.load(DIGITS / WEIGHTS, weights_only=True)
    state = {n: t for n, t in shipped.items() if n.startswith(("frontend.", "normalize."))}
    state |= _named("encoder", perturb(encoder))
    torch.save(state, folder / WEIGHTS)
    frames = torch.from_numpy(Espnet(folder).whole(samples_of("prompts_0")))
    module = perturb(ESPNET[decoder](vocab, **decoder_conf))
    joint = JointNetwork(vocab, encoder.output_size, module.output_size, joint_size)
    _fit(joint, frames, module)
    state |= _named("decoder", module) | _named("joint_network", joint)
    torch.save(state, folder / WEIGHTS)
    return folder


@torch.no_grad()
def _fit(joint, frames, decoder):
    """Let a joint network prefer labels now and then: random ones prefer blank always, or never.

    Label 1 where the frames' first principal component is large, 2 where it is small, and neither
    twice in a row.
    """
    mean = frames.mean(0)
    component = torch.linalg.svd(frames - mean).Vh[0]
    component /= 1.5 * ((frames - mean) @ component).abs().median()  # robust: few stand far out
    joint.lin_enc.weight[:3] = torch.stack([component, 0 * component, 0 * component])
    joint.lin_enc.bias[:3] = torch.tensor([-float(mean @ component), 0.0, 0.0])
    labels = random_labels(1, 120, vocab=3)  # blank, and those two
    outs = espnet_rollout(decoder, labels)[0]
    last = torch.stack([labels[0] < 0, labels[0] == 1, labels[0] == 2], 1).float()
    joint.lin_dec.weight[:3] = -2 * torch.linalg.lstsq(outs, last).solution.T
    joint.lin_out.weight[:3, :3] = torch.tensor([[0.0, 0, 0], [6, 6, 0], [-6, 0, 6]])
    joint.lin_out.bias[0] += 3.0


def write_mega(folder, vocab=7, **conf):
    """Write the config and weights of a small MEGA decoder and a joint network.

    Returns:
        ESPnet's decoder.
    """
    return write_decoder(folder, "mega", vocab, seed=5, move=models.perturb, **conf)


def write_decoder(folder, kind, vocab=11, seed=0, move=perturb, **conf):
    """Write the config and weights of a decoder and a joint network; an rnn is left unnamed.

    Returns:
        ESPnet's decoder.
    """
    conf = (MEGA if kind == "mega" else KINDS[kind][2]) | conf
    torch.manual_seed(seed)
    module = move(ESPNET[kind](vocab, **conf))
    joint = move(JointNetwork(vocab, 12, module.output_size, joint_space_size=10))
    config = {
        **({} if kind == "rnn" else {"decoder": kind}),
        "decoder_conf": conf,
        "joint_network_conf": {"joint_space_size": 10},
        "token_list": ["<blank>", *(f"t{i}" for i in range(1, vocab))],
    }
    folder.mkdir()
    torch.save(_named("decoder", module) | _named("joint_network", joint), folder / WEIGHTS)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return module


def _named(prefix, module):
    return {f"{prefix}.{name}": tensor for name, tensor in module.state_dict().items()}
