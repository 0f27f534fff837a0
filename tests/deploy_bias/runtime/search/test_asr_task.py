"""The searches of ESPnet's `asr` task, against its BeamSearchTransducer on the same frames."""

import numpy as np
import pytest
import torch
from espnet2.asr.transducer.beam_search_transducer import BeamSearchTransducer

from deploy_bias.runtime import Decoder, Joint, load, open_search
from tests.deploy_bias.runtime.search.test_search import espnet, frames, search

DURATIONS = (4, 3, 2, 1)


class TaskDecoder:
    """ESPnet's decoder of the shipped model with the methods that the task's searches call."""

    blank_id, dunits = 0, 0

    def __init__(self, decoder):
        self.decoder, self.odim = decoder, decoder.vocab_size

    def set_device(self, device):
        pass

    def init_state(self, batch):
        return self.decoder.init_state(batch)

    def score(self, hyp, cache):
        labels = tuple(hyp.yseq)
        if labels not in cache:
            out, state = self.decoder.inference(torch.tensor([[labels[-1]]]), hyp.dec_state)
            cache[labels] = out[0, 0], state
        return *cache[labels], None


@torch.no_grad()
def espnet_search(folder, encoder_out, **options):
    decoder, joint, _ = espnet(folder)
    found = BeamSearchTransducer(TaskDecoder(decoder), joint, nbest=3, **options)
    return found(torch.from_numpy(encoder_out))


def same(theirs, ours):
    assert [(*h.yseq[1:],) for h in theirs] == [h.labels for h in ours]
    assert all(abs(float(t.score) - o.score) < 1e-3 for t, o in zip(theirs, ours, strict=True))


@pytest.mark.parametrize("name", ["digits_2934z", "prompts_3", "prompts_4"])
class TestRealSpeech:
    def test_greedy(self, digits, digits_bundle, name):
        found = np.load(digits / "encoder_out" / f"{name}.npy")
        theirs = espnet_search(digits, found, beam_size=1)
        ours = search(load(digits_bundle), [found[:9], found[9:]], "asr_greedy")
        same(theirs, ours)
        assert len(ours[0].labels) > 1

    def test_default_is_that_of_the_other_task_with_score_norm(self, digits, digits_bundle, name):
        found = np.load(digits / "encoder_out" / f"{name}.npy")
        theirs = espnet_search(digits, found, beam_size=4)
        ours = search(load(digits_bundle), [found], "default", beam_size=4, score_norm=True)
        same(theirs, ours)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("durations", [DURATIONS, (2, 1), (1,)])
def test_multi_blank(digits, digits_bundle, seed, durations):
    found = frames(60, seed=seed, scale=1.0)
    theirs = espnet_search(
        digits,
        found,
        beam_size=4,
        search_type="mbg",
        multi_blank_durations=list(durations),
        multi_blank_indices=list(range(len(durations))),
    )
    graphs = load(digits_bundle)
    decoder, joint = Decoder(graphs["decoder"]), Joint(graphs["joint"])
    joint.blank_durations = durations  # as if the contract said so
    for cut in (0, 1, 17, 58):
        mbg = open_search("mbg", decoder, joint)
        for piece in (found[:cut], found[cut:]):
            mbg.accept(piece)
        ours = mbg.results()
        same(theirs, ours)
        assert theirs[0].yseq[0] == len(durations) - 1
        assert ours[0].labels
        assert min(ours[0].labels) >= len(durations)


def test_a_frame_gives_one_label_or_four(digits_bundle):
    never = frames(3, seed=1, scale=30.0)
    graphs = load(digits_bundle)
    parts = Decoder(graphs["decoder"]), Joint(graphs["joint"])
    for name, most in (("asr_greedy", 1), ("mbg", 4)):
        found = open_search(name, *parts)
        found.accept(never)
        assert found.results()[0].frames == tuple(np.repeat(range(3), most))
