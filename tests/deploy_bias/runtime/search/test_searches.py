"""Every search finds what ESPnet's finds, with random models of every decoder.

`python -m benchmarks.measure_searches` does it 200 times a search.
"""

import numpy as np
import pytest

from deploy_bias.errors import ContractError
from deploy_bias.runtime import open_search
from tests.espnet.searches import CASES, LMS, VARIANTS, difference, frames, transducer

ALL = [
    (name, options, variant)
    for number, (name, options) in enumerate(CASES)
    for variant in (number % len(VARIANTS), (number + 3) % len(VARIANTS))
]


@pytest.mark.parametrize(("name", "options", "variant"), ALL)
def test_labels_and_scores_are_those_of_espnet(name, options, variant):
    model = transducer(variant)
    encoder_out = frames(12, variant)
    found = model.search(name, encoder_out, **options)
    assert difference(model.espnet(name, encoder_out, **options), found, model.memory) is None
    for result in found:
        assert len(result.frames) == len(result.log_probs) == len(result.labels)
        assert list(result.frames) == sorted(result.frames)
        assert all(log_prob <= 0 for log_prob in result.log_probs)


FUSED = [(name, options) for name, options in CASES if name != "asr_greedy"]


@pytest.mark.parametrize(("name", "options"), FUSED)
def test_with_a_language_model_too(name, options):
    number = FUSED.index((name, options))
    variant = (2, 3, 4)[number % 3]
    model = transducer(variant, lm=LMS[number % len(LMS)])
    encoder_out = frames(12, variant)
    options = options | {"lm_weight": 0.8}
    found = model.search(name, encoder_out, **options)
    assert difference(model.espnet(name, encoder_out, **options), found, model.memory) is None
    plain = transducer(variant)
    without = plain.search(name, encoder_out, **{**options, "lm_weight": 0.0})
    assert [r.score for r in without] != [r.score for r in found]


@pytest.mark.parametrize("name", ["default", "maes", "tsd", "nsc", "asr_maes", "asr_greedy"])
def test_pieces_do_not_matter(name):
    model = transducer(4)
    encoder_out = frames(12, 4)
    whole = model.search(name, encoder_out)
    assert model.search(name, encoder_out, cuts=(1, 1, 5)) == whole


@pytest.mark.parametrize("batch", [3, 8])
@pytest.mark.parametrize("name", ["default", "tsd", "alsd", "nsc"])
def test_the_batch_of_the_graphs_does_not_matter(name, batch):
    encoder_out = frames(10, 1)
    alone, together = (transducer(0, batch=size).search(name, encoder_out) for size in (1, batch))
    assert [result.labels for result in alone] == [result.labels for result in together]
    for one, other in zip(alone, together, strict=True):
        assert abs(one.score - other.score) < 1e-5


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", ["default", "tsd", "nsc", "greedy"])
def test_several_searches_together_find_what_each_finds_alone(name, batch):
    model = transducer(1, batch=batch)
    pieces = [frames(count, count) for count in (3, 11, 7, 0)]
    searches = [open_search(name, *model.ours) for _ in pieces]
    steps = [search.steps(piece) for search, piece in zip(searches, pieces, strict=True)]
    searches[0].scorer.run(steps)
    for search, piece in zip(searches, pieces, strict=True):
        alone = open_search(name, *model.ours)
        alone.accept(piece)
        for one, other in zip(search.results(3), alone.results(3), strict=True):
            # Eager torch rounds a row by its place in the batch; the runtimes do not.
            assert one.labels == other.labels
            assert one.score == pytest.approx(other.score)


def test_alsd_takes_the_frames_of_an_utterance_at_once():
    model = transducer(0)
    search = open_search("alsd", *model.ours)
    search.accept(frames(5))
    first = search.results()
    with pytest.raises(ContractError, match="alsd takes the frames of an utterance at once"):
        search.accept(frames(5))
    assert search.results() == first
    search.reset()
    search.accept(frames(5))
    assert search.results() == first


def test_frames_of_a_failed_call_leave_nothing_behind(monkeypatch):
    model = transducer(4)
    decoder, joint = model.ours
    search = open_search("maes", decoder, joint)
    search.accept(frames(3))
    run = joint.graph.run
    left = [2]

    def failing(inputs):
        left[0] -= 1
        return run(inputs) if left[0] >= 0 else [np.full_like(run(inputs)[0], np.nan)]

    monkeypatch.setattr(joint.graph, "run", failing)
    with pytest.raises(ContractError, match="makes NaN or infinity of an encoder frame"):
        search.accept(frames(5, seed=7))
    monkeypatch.undo()
    search.accept(frames(5, seed=8))
    assert search.results() == model.search(
        "maes", np.concatenate([frames(3), frames(5, seed=8)]), nbest=1, cuts=(3,)
    )
