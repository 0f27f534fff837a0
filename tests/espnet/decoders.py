"""Pairs of our rnn, stateless and rwkv decoders and ESPnet's, with the same weights.

ESPnet's RWKV is constructed without its CUDA kernel, whose `forward` is the definition here.
`ESPNET` has its decoders of every kind as a search may use them.
"""

import torch
from espnet2.asr_transducer.decoder.mega_decoder import MEGADecoder as EspnetMEGA
from espnet2.asr_transducer.decoder.modules.rwkv import attention
from espnet2.asr_transducer.decoder.rnn_decoder import RNNDecoder as EspnetRNN
from espnet2.asr_transducer.decoder.rwkv_decoder import RWKVDecoder as EspnetRWKV
from espnet2.asr_transducer.decoder.stateless_decoder import StatelessDecoder as EspnetStateless

from deploy_bias.model.decoder.rnn_decoder import RNNDecoder
from deploy_bias.model.decoder.rwkv_decoder import RWKVDecoder
from deploy_bias.model.decoder.stateless_decoder import StatelessDecoder
from tests.espnet import models
from tests.espnet.models import VOCAB, perturb

KINDS = {
    "rnn": (RNNDecoder, EspnetRNN, {"embed_size": 12, "hidden_size": 16}),
    "stateless": (StatelessDecoder, EspnetStateless, {"embed_size": 16}),
    "rwkv": (
        RWKVDecoder,
        EspnetRWKV,
        {"block_size": 16, "linear_size": 24, "attention_size": 20, "num_blocks": 3},
    ),
}
RNN_OPTIONS = [
    {"rnn_type": rnn_type, "num_layers": layers}
    for rnn_type in ("lstm", "gru")
    for layers in (1, 3)
]
NORMALIZATIONS = [
    {"normalization_type": "layer_norm", "normalization_args": {"eps": 0.01}},
    {"normalization_type": "basic_norm", "normalization_args": {}},
    # Of fewer features the rms can be so near 0 that ESPnet itself is off by 1e-4.
    {"normalization_type": "rms_norm", "normalization_args": {"partial": 0.6}},
    {"normalization_type": "scale_norm", "normalization_args": {"eps": 1e-3}},
]
RWKV_OPTIONS = [
    {},
    {"linear_size": None, "attention_size": None, "num_blocks": 2},
    *NORMALIZATIONS,
]
CASES = [
    *(("rnn", options) for options in RNN_OPTIONS),
    ("stateless", {}),
    *(("rwkv", options) for options in RWKV_OPTIONS),
]


class Kernel:
    """Stands in for `WKVLinearAttention`: the definition, as a softmax over all keys so far."""

    @staticmethod
    def apply(time_decay, time_first, key, value):
        length = key.size(1)
        steps = torch.arange(length)
        past = (steps[:, None] - steps - 1).clamp(min=0)[None, :, :, None]
        weights = key[:, None] - time_decay.exp() * past
        newest = torch.eye(length, dtype=torch.bool)[None, :, :, None]
        weights = torch.where(newest, key[:, None] + time_first, weights)
        later = (steps[:, None] < steps)[None, :, :, None]
        shares = weights.masked_fill(later, -torch.inf).softmax(2)
        return (shares * value[:, None]).sum(2)


attention.load_wkv_kernel = lambda context_size: None
attention.WKVLinearAttention = Kernel


class Unbatched(EspnetMEGA):
    """ESPnet's decoder, which scores a batch one by one: together, a shorter hypothesis attends to
    the zeros that pad it."""

    def batch_score(self, hyps):
        outs, states = zip(
            *(super(Unbatched, self).batch_score([hyp]) for hyp in hyps), strict=True
        )
        return torch.cat(outs), [self.select_state(state, 0) for state in states]

    def select_state(self, states, idx):
        alone = isinstance(states[0], dict)
        return super().select_state(states, idx) if alone else states[idx]


class CleanStart(EspnetRWKV):
    """ESPnet's decoder, which starts where its training starts."""

    def init_state(self, batch_size=1):
        state = super().init_state(batch_size)
        state[4].fill_(-1e38)
        return state


ESPNET = {"mega": Unbatched, "rnn": EspnetRNN, "stateless": EspnetStateless, "rwkv": CleanStart}


def pair(kind, seed=0, vocab=VOCAB, small=None, **options):
    """Our decoder and ESPnet's; the state_dict goes over strictly in both directions.

    `small` has the sizes that `options` leaves out.
    """
    ours_class, espnet_class, usual = KINDS[kind]
    small = usual if small is None else small
    torch.manual_seed(seed)
    theirs = perturb(espnet_class(vocab, **(small | options)))
    ours = ours_class(vocab, **(small | options)).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    return ours, theirs


@torch.no_grad()
def espnet_rollout(decoder, labels, *, start="clean", rescale="espnet"):
    """Decode labels (B, T) by ESPnet, one at a time, and return the outputs (B, T, D).

    `start` and `rescale` are of RWKV, see `deploy_bias.export.steps.rwkv_decoder`.
    """
    if isinstance(decoder, EspnetMEGA):
        return models.espnet_rollout(decoder, labels)
    dtype = decoder.embed.weight.dtype
    # ESPnet's rnn has float32 state alone.
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        state = decoder.init_state(labels.size(0))
        step = espnet_step_of(decoder)
        if isinstance(decoder, EspnetRWKV):
            state = [tensor.to(dtype) for tensor in state]
            if start == "clean":
                state[4].fill_(-1e38)
            if rescale == "espnet" and decoder.rescale_every > 0:
                rescale_as_speech2text(decoder)
        outputs = []
        for label in labels.split(1, dim=1):
            out, state = step(label, state)
            outputs.append(out)
    finally:
        torch.set_default_dtype(before)
    return torch.cat(outputs, 1)


def espnet_step_of(decoder):
    """Return what ESPnet's rnn, stateless or rwkv decoder does for a label and a state."""
    if isinstance(decoder, EspnetRNN):
        return lambda label, state: decoder.rnn_forward(decoder.embed(label), state)
    if isinstance(decoder, EspnetStateless):
        return lambda label, state: (decoder(label), state)
    return decoder.inference


def rescale_as_speech2text(decoder):
    """Do to a decoder, once, what `Speech2Text` does when it loads one."""
    if decoder.rescaled_layers:
        return
    for index, block in enumerate(decoder.rwkv_blocks):
        for linear in (block.att.proj_output, block.ffn.proj_value):
            linear.weight.div_(2 ** (index // decoder.rescale_every))
    decoder.rescaled_layers = True
