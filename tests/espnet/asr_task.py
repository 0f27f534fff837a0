"""Models of ESPnet's `asr` task with `decoder: transducer`, of random weights, piece by piece.

Its whole task needs packages that compute nothing here; the pieces import without them.
"""

import torch
import yaml
from espnet2.asr.decoder.transducer_decoder import TransducerDecoder
from espnet2.asr.encoder.conformer_encoder import ConformerEncoder
from espnet2.asr.encoder.e_branchformer_encoder import EBranchformerEncoder
from espnet2.asr.transducer.beam_search_transducer import BeamSearchTransducer
from espnet2.asr_transducer.joint_network import JointNetwork

from tests.espnet.encoders import perturb
from tests.espnet.frontends import DIGITS, digits, espnet_features
from tests.espnet.speech import samples_of

FEATURES = 20
VOCAB = 11
ENCODERS = {"conformer": ConformerEncoder, "e_branchformer": EBranchformerEncoder}
SMALL = {"output_size": 16, "attention_heads": 2, "linear_units": 24, "num_blocks": 2}
CONFS = {
    "conformer": SMALL
    | {
        "macaron_style": True,
        "rel_pos_type": "latest",
        "cnn_module_kernel": 5,
        "dropout_rate": 0.1,
    },
    "e_branchformer": SMALL
    | {
        "use_ffn": True,
        "macaron_ffn": True,
        "cgmlp_linear_units": 20,
        "cgmlp_conv_kernel": 7,
        "merge_conv_kernel": 5,
    },
}
DECODER = {"rnn_type": "lstm", "num_layers": 2, "hidden_size": 12}
JOINT = {"joint_space_size": 10}


def config_of(encoder="conformer", encoder_conf=None, **changes):
    """config.yaml of a small model, as far as the model goes."""
    return {
        "encoder": encoder,
        "encoder_conf": CONFS[encoder] | (encoder_conf or {}),
        "decoder": "transducer",
        "decoder_conf": DECODER,
        "joint_net_conf": JOINT,
        "token_list": ["<blank>", *(f"t{i}" for i in range(1, VOCAB))],
        **changes,
    }


def modules_of(config, features=FEATURES, lin_dec_bias=True, seed=0):
    """ESPnet's encoder, decoder and joint network of a config, by their prefix in a checkpoint."""
    torch.manual_seed(seed)
    vocab = len(config["token_list"])
    encoder = perturb(ENCODERS[config["encoder"]](features, **config["encoder_conf"]))
    decoder = perturb(TransducerDecoder(vocab, embed_pad=0, **config["decoder_conf"]))
    joint = perturb(
        JointNetwork(
            vocab,
            encoder.output_size(),
            decoder.dunits,
            lin_dec_bias=lin_dec_bias,
            **config["joint_net_conf"],
        )
    )
    return {"encoder": encoder, "decoder": decoder, "joint_network": joint}


def state_of(modules):
    """The weights as a checkpoint has them."""
    return {
        f"{prefix}.{name}": tensor
        for prefix, module in modules.items()
        for name, tensor in module.state_dict().items()
    }


class Experiment:
    """A folder as training leaves it, and ESPnet's recognition with what it holds.

    The frontend and its statistics are those of the shipped model.

    Args:
        folder: to make.
        config: see `config_of`.
        durations: of the blanks, the last one's too.
        lin_dec_bias: whether the joint network has this bias; checkpoints before 2023 have not.
    """

    def __init__(self, folder, config, durations=(1,), lin_dec_bias=True):
        shipped = yaml.safe_load((DIGITS / "config.yaml").read_text())
        names = ("frontend", "frontend_conf", "normalize", "normalize_conf")
        self.folder, self.durations = folder, durations
        self.config = config | {name: shipped[name] for name in names}
        features = shipped["frontend_conf"]["n_mels"]
        self.modules = modules_of(config, features, lin_dec_bias)
        balance(self.modules, self.frames("prompts_0"), len(durations))
        folder.mkdir()
        (folder / "config.yaml").write_text(yaml.safe_dump(self.config))
        weights = torch.load(DIGITS / "valid.loss.best.pth", weights_only=True)
        state = {n: t for n, t in weights.items() if n.startswith(("frontend.", "normalize."))}
        state |= state_of(self.modules) | {"ctc.ctc_lo.bias": torch.zeros(3)}
        torch.save(state, folder / "valid.loss.ave_10best.pth")

    @torch.no_grad()
    def frames(self, name):
        """The encoder's frames (T, D) of a shipped recording."""
        frontend, normalize = digits()[1]
        samples = torch.from_numpy(samples_of(name))[None]
        features = espnet_features(frontend, samples, normalize)
        return self.modules["encoder"](features, torch.tensor([features.size(1)]))[0][0]

    @torch.no_grad()
    def search(self, name, **options):
        """The hypotheses of a shipped recording."""
        search = BeamSearchTransducer(
            self.modules["decoder"],
            self.modules["joint_network"],
            multi_blank_durations=list(self.durations),
            multi_blank_indices=list(range(len(self.durations))),
            **options,
        )
        return search(self.frames(name))


@torch.no_grad()
def balance(modules, frames, blanks):
    """Let a joint network say labels at a few frames: a random one prefers blank always, or never.

    Each blank is as likely as the others.
    """
    decoder, joint = modules["decoder"], modules["joint_network"]
    out = decoder(torch.tensor([[blanks - 1]]))[0]
    joint.lin_out.weight.mul_(3.0)
    logits = joint(frames, out)
    best = logits[:, blanks:].max(1).values
    for blank in range(blanks):
        joint.lin_out.bias[blank] += (best - logits[:, blank]).quantile(0.8 - 0.15 * (blanks - 1))
