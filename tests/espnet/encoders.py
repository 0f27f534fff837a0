"""Pairs of our encoder and ESPnet's with the same weights, and hosts that stream with them."""

import copy
import random

import torch
import yaml
from espnet2.asr_transducer.encoder.encoder import Encoder as EspnetEncoder

from deploy_bias.model.encoder import Encoder, build_encoder
from tests.espnet.models import DIGITS, largest

FEATURES = 20
SMALL = {"hidden_size": 16, "linear_size": 24, "heads": 2, "conv_mod_kernel_size": 5}
CAUSAL = {"dynamic_chunk_training": True}
BODIES = {
    "conformer": [{"block_type": "conformer", "num_blocks": 2, **SMALL}],
    "branchformer": [{"block_type": "branchformer", "num_blocks": 2, **SMALL}],
    "ebranchformer": [{"block_type": "ebranchformer", "depth_conv_kernel_size": 3, **SMALL}],
    "conv1d": [
        {"block_type": "conv1d", "output_size": 16, "kernel_size": 3, "groups": 2},
        {"block_type": "ebranchformer", **SMALL},
        {"block_type": "conv1d", "output_size": 10, "kernel_size": 2, "batch_norm": True},
        {"block_type": "conv1d", "output_size": 12, "kernel_size": 4, "bias": False, "relu": False},
    ],
}
INPUTS = [
    {"subsampling_factor": 2, "conv_size": 6},
    {},
    {"subsampling_factor": 6, "conv_size": (6, 3)},
    {"vgg_like": True, "conv_size": (4, 6)},
    {"vgg_like": True, "conv_size": 4, "subsampling_factor": 6},
]
NORMS = ["layer_norm", "basic_norm", "rms_norm", "scale_norm"]
ACTIVATIONS = [
    {"pos_wise_act_type": "ftswish", "conv_mod_act_type": "hardtanh", "ftswish_threshold": -0.3},
    {"pos_wise_act_type": "leaky_relu", "conv_mod_act_type": "mish"},
    {"pos_wise_act_type": "relu", "conv_mod_act_type": "selu"},
    {"pos_wise_act_type": "smish", "conv_mod_act_type": "swish", "swish_beta": 1.5},
    {"pos_wise_act_type": "tanh", "conv_mod_act_type": "identity"},
]


def cases(bodies):
    """(body, input_conf, main_conf): each option with each of what it could depend on."""
    plain = {}
    for body in bodies:
        for main in (plain, CAUSAL):
            yield body, plain, main
            yield body, plain, {**main, "simplified_att_score": True}
        for norm in NORMS[1:]:
            yield body, plain, {**CAUSAL, "norm_type": norm, "conv_mod_norm_type": norm}
    for conf in INPUTS:
        yield "ebranchformer", conf, CAUSAL
        yield "conv1d", conf, CAUSAL
    for activations in ACTIVATIONS:
        yield "conformer", plain, {**CAUSAL, **activations}


def random_conf(seed):
    """Return the encoder_conf of a random small causal model with blocks of several kinds."""
    pick = random.Random(seed)
    size = pick.choice([8, 12, 24])
    body = [{"block_type": "conv1d", "output_size": size, "kernel_size": pick.choice([2, 3, 5])}]
    if pick.random() < 0.5:
        body = []
    for _ in range(pick.choice([1, 2, 3])):
        kind = pick.choice(["conformer", "branchformer", "ebranchformer"])
        body.append(
            {
                "block_type": kind,
                "hidden_size": size,
                "linear_size": pick.choice([10, 32]),
                "heads": pick.choice([1, 2, 4]),
                "conv_mod_kernel_size": pick.choice([1, 3, 7, 31]),
                "depth_conv_kernel_size": pick.choice([3, 4, 31]),
                "norm_eps": pick.choice([None, 0.01]),
                "norm_partial": pick.choice([None, 0.4]),
                "conv_mod_norm_eps": pick.choice([1e-3, 0.05]),
                "num_blocks": pick.choice([1, 2]),
            }
        )
    main = {
        **CAUSAL,
        "simplified_att_score": pick.random() < 0.5,
        "norm_type": pick.choice(NORMS),
        "conv_mod_norm_type": pick.choice(NORMS),
        "after_norm_eps": pick.choice([None, 0.1]),
        **pick.choice(ACTIVATIONS),
    }
    return {"body_conf": body, "input_conf": pick.choice(INPUTS), "main_conf": main}


def pair(body, input_conf=None, main_conf=None, features=FEATURES, seed=0):
    """Our encoder and ESPnet's; the state_dict goes over strictly in both directions."""
    torch.manual_seed(seed)
    body = BODIES[body] if isinstance(body, str) else body
    conf = copy.deepcopy((body, input_conf or {}, main_conf or {}))  # ESPnet writes into its own
    theirs = perturb(EspnetEncoder(features, *conf))
    # A chunk drawn at random becomes the whole utterance.
    theirs.short_chunk_threshold = 0.0
    ours = Encoder(features, body, input_conf, main_conf).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    return ours, theirs


def digits():
    """Our encoder and ESPnet's with the weights of the shipped model."""
    config = yaml.safe_load((DIGITS / "config.yaml").read_text())
    checkpoint = torch.load(DIGITS / "valid.loss.best.pth", weights_only=True)
    state = {k.removeprefix("encoder."): v for k, v in checkpoint.items() if k[:8] == "encoder."}
    ours = build_encoder(config).eval()
    theirs = EspnetEncoder(40, **config["encoder_conf"]).eval()
    theirs.short_chunk_threshold = 0.0
    ours.load_state_dict(state, strict=True)
    theirs.load_state_dict(state, strict=True)
    return ours, theirs


def perturb(module):
    """Move what initialisation leaves at 0 or 1, which hides what it should do."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.dim() < 2:
                parameter.add_(0.2 * torch.randn(parameter.shape))
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(0.0, 0.2)
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 2.0)
    return module.eval()


def random_chunks(counts, features=FEATURES, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(1, count, features, generator=generator) for count in counts]


@torch.no_grad()
def espnet_stream(theirs, chunks, left_context):
    """Encode chunks (1, frames, M) by ESPnet's `chunk_forward`, as its `Speech2Text` does."""
    theirs.reset_cache(left_context, "cpu")
    processed = torch.tensor([[0]])
    outputs = []
    for chunk in chunks:
        count = torch.tensor([chunk.size(1)])
        out = theirs.chunk_forward(chunk, count, processed, left_context=left_context)
        processed = processed + out.size(1)
        outputs.append(out)
    return torch.cat(outputs, 1)


@torch.no_grad()
def stream(step, chunks, *, run=None, rubbish=1e4):
    """Encode chunks as a host does; `run` stands in for the step: its graph on some runtime."""
    _, _, valid, windows = step.example_inputs()
    outputs = []
    for chunk in chunks:
        padding = rubbish * torch.randn(1, step.feature_frames - chunk.size(1), step.input_size)
        features = torch.cat([chunk, padding.to(chunk.dtype)], 1)
        frames = torch.tensor([chunk.size(1)])
        out, new_rows = (run or step)(features, frames, valid, windows)
        count = step.encoder_frames(chunk.size(1))
        windows = [
            append(window, rows[:, :count]) for window, rows in zip(windows, new_rows, strict=True)
        ]
        valid = (valid + count).clamp(max=step.left_context)
        outputs.append(out[:, :count])
    return torch.cat(outputs, 1)


def append(window, rows):
    return torch.cat([window, rows], 1)[:, -window.size(1) :]


def assert_as_near(ours, theirs, exact):
    """Within 1e-4 of ESPnet, and about as near to float64 as ESPnet is."""
    assert ours.shape == theirs.shape == exact.shape
    assert largest(ours - theirs) < 1e-4
    scale = max(1.0, largest(exact))
    assert largest(ours - exact) <= max(4 * largest(theirs - exact), 1e-5 * scale)
