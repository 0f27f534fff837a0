"""Pairs of our decoder and ESPnet's with the same weights, and hosts that decode with them."""

from importlib.resources import files
from pathlib import Path

import torch
import yaml
from espnet2.asr_transducer.decoder.mega_decoder import MEGADecoder as EspnetDecoder

from deploy_bias import MEGADecoder
from deploy_bias.export.graphs.mega_decoder import FIRST_VALID

VOCAB = 11
SMALL = {
    "block_size": 16,
    "linear_size": 24,
    "qk_size": 8,
    "v_size": 12,
    "num_heads": 4,
    "num_blocks": 2,
    "max_positions": 16,
}
DIGITS = Path(str(files("deploy_bias"))) / "data/digits"


def perturb(module, scale=0.2):
    """Move every parameter: at initialisation many are 0 or 1, and hide what they should do."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(scale * torch.randn(parameter.shape))
    return module.eval()


def pair(seed=0, **options):
    """Our decoder and ESPnet's; the state_dict goes over strictly in both directions."""
    torch.manual_seed(seed)
    theirs = perturb(EspnetDecoder(VOCAB, **(SMALL | options)))
    ours = MEGADecoder(VOCAB, **(SMALL | options)).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    return ours, theirs


def digits():
    """Our decoder and ESPnet's with the weights of the shipped model."""
    config = yaml.safe_load((DIGITS / "config.yaml").read_text())
    checkpoint = torch.load(DIGITS / "valid.loss.best.pth", weights_only=True)
    state = {
        name.removeprefix("decoder."): tensor
        for name, tensor in checkpoint.items()
        if name.startswith("decoder.")
    }
    vocab, options = len(config["token_list"]), config["decoder_conf"]
    ours, theirs = MEGADecoder(vocab, **options).eval(), EspnetDecoder(vocab, **options).eval()
    ours.load_state_dict(state, strict=True)
    theirs.load_state_dict(state, strict=True)
    return ours, theirs


def random_labels(batch, length, vocab=VOCAB, seed=1):
    """Blank first, as a transducer starts; the padding label is among the others."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(vocab, (batch, length), generator=generator)
    labels[:, 0] = 0
    return labels


@torch.no_grad()
def rollout(step, labels, start, *, chunk_size=-1, run=None):
    """Decode labels (B, T) as a host does, and return the outputs (B, T, D).

    `run` stands in for the step itself: the same graph on some runtime.
    """
    _, _, state, keys, values = step.example_inputs()
    valid = FIRST_VALID[start]
    outputs = []
    for label in labels.split(1, dim=1):
        counts = torch.full((labels.size(0),), valid)
        out, state, new_keys, new_values = (run or step)(label, counts, state, keys, values)
        keys = [append(window, row) for window, row in zip(keys, new_keys, strict=True)]
        values = [append(window, row) for window, row in zip(values, new_values, strict=True)]
        valid = valid + 1
        valid = FIRST_VALID[start] if valid == chunk_size else min(valid, step.context)
        outputs.append(out)
    return torch.stack(outputs, 1)


def append(window, row):
    return torch.cat([window[:, 1:], row.unsqueeze(1)], 1)


@torch.no_grad()
def espnet_rollout(decoder, labels, *, start="espnet", context=None):
    """Decode labels (1, T) by ESPnet's `inference`; `context` keeps the last rows alone.

    The clean start is ESPnet's block without the previous key and value of its `init_state`.
    """
    dtype = decoder.embed.weight.dtype
    states = [{name: s.to(dtype) for name, s in block.items()} for block in decoder.init_state(1)]
    if start == "clean":
        states = [block | {"prev_key": None, "prev_value": None} for block in states]
    outputs = []
    for label in labels.split(1, dim=1):
        out, states = decoder.inference(label, states)
        if context is not None:
            for block in states:
                block["prev_key"] = block["prev_key"][:, -context:]
                block["prev_value"] = block["prev_value"][:, -context:]
        outputs.append(out)
    return torch.cat(outputs, 1)


def largest(difference):
    return difference.abs().max().item()
