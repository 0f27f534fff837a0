"""Models of ESPnet's `asr` task with `decoder: transducer`, of random weights, piece by piece.

Its whole task needs packages that compute nothing here; the pieces import without them.
"""

import torch
from espnet2.asr.decoder.transducer_decoder import TransducerDecoder
from espnet2.asr.encoder.conformer_encoder import ConformerEncoder
from espnet2.asr.encoder.e_branchformer_encoder import EBranchformerEncoder
from espnet2.asr_transducer.joint_network import JointNetwork

from tests.espnet.encoders import perturb

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
