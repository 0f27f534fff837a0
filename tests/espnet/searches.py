"""Random transducers, small, of each decoder: ESPnet's searches over them, and ours.

Ours run on the modules that are exported, in eager torch: a graph's runtime is proven elsewhere.
ESPnet's run with the cures that its results need (`Unbatched`, a language model whose batch is not
padded, a state that its `asr` task loses).
"""

from collections import defaultdict
from dataclasses import dataclass
from unittest.mock import patch

import numpy as np
import torch
from espnet2.asr.transducer import beam_search_transducer as asr_transducer
from espnet2.asr.transducer.beam_search_transducer import BeamSearchTransducer as AsrSearch
from espnet2.asr_transducer.beam_search_transducer import BeamSearchTransducer
from espnet2.asr_transducer.joint_network import JointNetwork
from espnet2.lm.seq_rnn_lm import SequentialRNNLM

from deploy_bias.bundle.contract import ModuleSpec
from deploy_bias.export.graphs import DECODERS
from deploy_bias.export.graphs.joint import JointGraph
from deploy_bias.export.graphs.language_model import LanguageModelGraph
from deploy_bias.export.options import ExportOptions
from deploy_bias.model.bias.toeplitz import toeplitz_by_repeat
from deploy_bias.runtime import Decoder, Graph, Joint, LanguageModel, open_search
from tests.espnet.decoders import ESPNET, KINDS, rescale_as_speech2text
from tests.espnet.models import SMALL, perturb

ENCODER_SIZE = 12
JOINT = {"joint_space_size": 10}
VARIANTS = [
    ("mega", SMALL | {"max_positions": 64}),
    ("mega", SMALL | {"max_positions": 64, "chunk_size": 5, "rel_pos_bias_type": "rotary"}),
    ("rnn", {"rnn_type": "lstm", "num_layers": 2}),
    ("rnn", {"rnn_type": "gru"}),
    ("stateless", {}),
    ("rwkv", {}),
]
CASES = [
    ("default", {"beam_size": 4}),
    ("maes", {"beam_size": 4}),
    ("tsd", {"beam_size": 4}),
    ("tsd", {"beam_size": 3, "max_sym_exp": 2, "score_norm": True}),
    ("alsd", {"beam_size": 4}),
    ("alsd", {"beam_size": 3, "u_max": 4}),
    ("asr_greedy", {}),
    ("nsc", {"beam_size": 3}),
    ("nsc", {"beam_size": 4, "nstep": 2, "prefix_alpha": 3}),
    ("asr_maes", {"beam_size": 3, "expansion_beta": 1}),
    ("asr_maes", {"beam_size": 3, "prefix_alpha": 2, "expansion_gamma": 1.0}),
]
"""Searches and their options."""
LMS = [
    {"unit": 8, "nhid": 12, "rnn_type": "lstm"},
    {"unit": 8, "nlayers": 1, "rnn_type": "gru", "tie_weights": True},
    {"unit": 8, "nhid": 6, "rnn_type": "rnn_tanh"},
    {"unit": 8, "nlayers": 3, "rnn_type": "rnn_relu"},
]
"""Options of language models."""
ASR = {"nsc", "asr_maes", "asr_greedy"}
"""Searches of ESPnet's `asr` task."""


class EagerSession:
    """Runs the modules of graphs as they are, without a runtime."""

    label = None

    def __init__(self, modules):
        self.modules = modules

    @torch.no_grad()
    def run(self, name, inputs):
        outputs = self.modules[name](*(torch.from_numpy(np.array(array)) for array in inputs))
        return [tensor.numpy() for tensor in (outputs if isinstance(outputs, tuple) else [outputs])]


@dataclass
class Transducer:
    """ESPnet's decoder and joint network, and ours as a runtime has them."""

    decoder: torch.nn.Module
    joint: torch.nn.Module
    ours: tuple[Decoder, Joint]
    lm: torch.nn.Module | None = None
    our_lm: LanguageModel | None = None

    @property
    def memory(self):
        """Whether the decoder sees more than the last label."""
        return not isinstance(self.decoder, ESPNET["stateless"])

    def search(self, name, encoder_out, nbest=3, cuts=(), **options):
        """Our results; the frames in pieces."""
        lm = self.our_lm if name != "asr_greedy" else None
        found = open_search(name, *self.ours, lm=lm, **options)
        for piece in np.split(encoder_out, cuts):
            found.accept(piece)
        return found.results(nbest)

    @torch.no_grad()
    def espnet(self, name, encoder_out, nbest=99, **options):
        """ESPnet's hypotheses."""
        frames = torch.from_numpy(encoder_out)
        if name not in ASR:
            found = Cured(
                self.decoder, self.joint, search_type=name, nbest=nbest, lm=self.lm, **options
            )
            return found(frames)
        kind = name.removeprefix("asr_")
        beam = {"beam_size": 1} if kind == "greedy" else {"search_type": kind}
        with patch.object(asr_transducer, "ExtendedHypothesis", CuredHypothesis):
            found = AsrSearch(
                AsrDecoder(self.decoder), self.joint, nbest=nbest, lm=self.lm, **beam, **options
            )
            return found(frames)


class Cured(BeamSearchTransducer):
    """Feeds the language model the start of a sentence whatever else is in its batch."""

    def create_lm_batch_inputs(self, hyps_seq):
        last = [self.sos if len(labels) == 1 else labels[-1] for labels in hyps_seq]
        return torch.tensor(last)[:, None]


class CuredHypothesis(asr_transducer.ExtendedHypothesis):
    """`maes` writes the language model's state where nothing reads it."""

    def __setattr__(self, name, value):
        super().__setattr__("lm_state" if name == "lm_states" else name, value)


class AsrDecoder:
    """A decoder of `asr_transducer` with the methods that the searches of `asr` call."""

    blank_id, dunits = 0, 0

    def __init__(self, decoder):
        self.decoder, self.odim = decoder, decoder.vocab_size
        self.known = {}

    def set_device(self, device):
        self.decoder.set_device(device)

    def init_state(self, batch):
        alone = self.decoder.init_state(1)
        return alone if batch == 1 else [alone] * batch

    def select_state(self, states, index):
        return states[index]

    def create_batch_states(self, states, new, labels=None):
        return new

    def _one(self, hypothesis):
        # By the labels and not by the state that a hypothesis carries.
        labels = tuple(hypothesis.yseq)
        if labels not in self.known:
            self.known[labels] = self.decoder.batch_score([hypothesis])
        out, states = self.known[labels]
        return out, self.decoder.select_state(states, 0)

    def score(self, hypothesis, cache):
        out, state = self._one(hypothesis)
        return out[0], state, torch.tensor([hypothesis.yseq[-1]])

    def batch_score(self, hypotheses, states, cache, use_lm):
        outs, states = zip(*map(self._one, hypotheses), strict=True)
        # The language model's first one is the start of a sentence; here ESPnet feeds it blank.
        last = [h.yseq[-1] if len(h.yseq) > 1 else self.odim - 1 for h in hypotheses]
        labels = torch.tensor(last)[:, None]
        return torch.cat(outs), list(states), labels if use_lm else None


def transducer(seed, vocab=11, batch=1, variant=None, lm=None):
    """A random model, of the decoders in turn; its joint network says labels now and then.

    lm: options of ESPnet's language model, if there is to be one.
    """
    kind, conf = VARIANTS[(seed if variant is None else variant) % len(VARIANTS)]
    conf = conf if kind == "mega" else KINDS[kind][2] | conf
    torch.manual_seed(seed)
    decoder = perturb(ESPNET[kind](vocab, **conf))
    joint = perturb(JointNetwork(vocab, ENCODER_SIZE, decoder.output_size, **JOINT), 0.4)
    # ESPnet's default search never ends where blank is too unlikely.
    joint.lin_out.bias.data[0] += 2.0
    state = {
        f"{prefix}.{name}": tensor
        for prefix, module in (("decoder", decoder), ("joint_network", joint))
        for name, tensor in module.state_dict().items()
    }
    options = ExportOptions(batch=batch)
    spec = ModuleSpec(type=kind, weights="decoder", options={"vocab_size": vocab, **conf})
    sizes = {"output_size": vocab, "encoder_size": ENCODER_SIZE}
    joint_spec = ModuleSpec(
        type="JointNetwork",
        weights="joint_network",
        options={**sizes, "decoder_size": decoder.output_size, **JOINT},
    )
    graphs = [
        DECODERS[kind].make(spec, state, options, "a test"),
        JointGraph.make(joint_spec, state, options, "a test"),
    ]
    theirs = None
    if lm is not None:
        theirs = perturb(SequentialRNNLM(vocab, **lm))
        lm_spec = ModuleSpec(type="seq_rnn", weights="lm", options={"vocab_size": vocab, **lm})
        weights = {f"lm.{name}": tensor for name, tensor in theirs.state_dict().items()}
        graphs.append(LanguageModelGraph.make(lm_spec, weights, options, "a test"))
    session = EagerSession({g.contract.name: g.module(toeplitz_by_repeat) for g in graphs})
    loaded = [Graph(graph.contract, session) for graph in graphs]
    if getattr(decoder, "rescale_every", 0) > 0:
        rescale_as_speech2text(decoder)
    ours = Decoder(loaded[0]), Joint(loaded[1])
    return Transducer(decoder, joint, ours, theirs, LanguageModel(loaded[2]) if lm else None)


def frames(count, seed=0, scale=1.0):
    """Random encoder frames."""
    numbers = np.random.default_rng(seed).standard_normal((count, ENCODER_SIZE))
    return scale * numbers.astype(np.float32)


def difference(theirs, ours, memory=True):
    """What differs between all hypotheses of ESPnet and the best results of ours; None if nothing.

    Of two that score the same, either may be the first; and for a decoder without memory those of
    the same labels in another order do, so either may be in the beam.

    memory: whether the decoder has any.
    """
    scores = defaultdict(list)
    for hypothesis in theirs:
        scores[tuple(map(int, hypothesis.yseq[1:]))].append(float(hypothesis.score))
    for rank, (hypothesis, result) in enumerate(zip(theirs, ours, strict=False)):
        near = abs(float(hypothesis.score) - result.score) < 1e-3
        known = any(abs(score - result.score) < 1e-3 for score in scores[result.labels])
        tie = not memory and sorted(result.labels) == sorted(map(int, hypothesis.yseq[1:]))
        tie = tie and abs(float(hypothesis.score) - result.score) < 1e-5
        if not near or not (known or tie):
            return rank, [*map(int, hypothesis.yseq[1:])], hypothesis.score, result
    return None if ours else "no result"
