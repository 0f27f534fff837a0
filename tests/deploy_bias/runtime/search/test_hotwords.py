"""Hotwords: what a label sequence is given, and what a search finds with them."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy_bias.errors import OptionError, SourceError
from deploy_bias.runtime import Decoder, Joint, load, open_search
from deploy_bias.runtime.phrases import BOOST, read_phrases
from deploy_bias.runtime.search import Hotwords
from tests.espnet.searches import frames, transducer

LABELS = st.lists(st.integers(1, 3), max_size=9).map(tuple)
PHRASES = st.dictionaries(
    st.lists(st.integers(1, 3), min_size=1, max_size=4).map(tuple), st.sampled_from([0.5, 1.0, 2.0])
)


def complete(labels, phrases):
    """By the definition: the largest sum over phrases in it that do not overlap."""
    best = [0.0]
    for end in range(1, len(labels) + 1):
        given = [
            best[end - len(phrase)] + boost * len(phrase)
            for phrase, boost in phrases.items()
            if labels[max(0, end - len(phrase)) : end] == phrase
        ]
        best.append(max([best[-1], *given]))
    return best


def with_what_is_lent(labels, phrases):
    best = complete(labels, phrases)
    lent = [
        best[len(labels) - count] + boost * count
        for phrase, boost in phrases.items()
        for count in range(1, len(phrase))
        if labels[len(labels) - count :] == phrase[:count] and count <= len(labels)
    ]
    return max([best[-1], *lent])


class TestBoost:
    @given(LABELS, PHRASES)
    def test_is_the_best_sum_of_phrases_that_do_not_overlap(self, labels, phrases):
        boost = Hotwords(phrases.items()).start()
        for label in labels:
            boost = boost.longer(label)
        assert boost.kept == pytest.approx(complete(labels, phrases)[-1])
        assert boost.total == pytest.approx(with_what_is_lent(labels, phrases))

    @given(LABELS, PHRASES)
    def test_what_labels_add_is_the_difference_to_one_more_label(self, labels, phrases):
        boost = Hotwords(phrases.items()).start()
        for label in labels:
            boost = boost.longer(label)
        added = boost.added(np.zeros(4))
        assert added[0] == 0
        for label in (1, 2, 3):
            assert added[label] == pytest.approx(boost.longer(label).total - boost.total)

    def test_a_phrase_in_another_is_not_counted_twice(self):
        boost = Hotwords([((1,), 1.0), ((1, 2), 1.0)]).start().longer(1).longer(2)
        assert boost.kept == boost.total == 2.0

    @pytest.mark.parametrize("wrong", [float("nan"), float("inf"), 0, -1.0, "2", True])
    def test_must_be_a_number_above_0(self, wrong):
        with pytest.raises(OptionError, match="boost of a hotword must be a number above 0, got"):
            Hotwords([((1,), wrong)])


@pytest.mark.parametrize("name", ["default", "maes", "tsd", "alsd", "nsc", "asr_maes"])
class TestSearches:
    def test_phrases_that_are_not_there_change_nothing(self, name):
        model = transducer(4)
        encoder_out = frames(12, 4)
        # It is begun often, and always left.
        hotwords = Hotwords([((label, 1, 2, 3, 4, 5, 6), 1e-7) for label in range(1, 11)])
        (plain,) = model.search(name, encoder_out, nbest=1)
        (found,) = model.search(name, encoder_out, nbest=1, hotwords=hotwords)
        assert found.labels == plain.labels
        assert found.score == pytest.approx(plain.score)

    def test_a_boost_finds_a_phrase_and_the_score_says_how_much(self, name):
        model = transducer(4)
        encoder_out = frames(12, 4)
        phrase = next(
            pair
            for pair in product(range(1, 11), repeat=2)
            if not contains(model.search(name, encoder_out, nbest=1)[0].labels, pair)
        )
        hotwords = Hotwords([(phrase, 8.0)])
        (found,) = model.search(name, encoder_out, nbest=1, hotwords=hotwords)
        assert contains(found.labels, phrase)
        assert all(log_prob <= 0 for log_prob in found.log_probs)


def contains(labels, pair):
    return any(labels[at : at + 2] == pair for at in range(len(labels)))


def test_a_search_without_a_beam_takes_none(digits_bundle):
    graphs = load(digits_bundle)
    parts = Decoder(graphs["decoder"]), Joint(graphs["joint"])
    with pytest.raises(
        OptionError, match="hotwords: the greedy search has no beam that could be led"
    ):
        open_search("greedy", *parts, hotwords=Hotwords([((1,), 1.0)]))


def test_a_file_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "hotwords.txt"
    path.write_bytes("\ufeffone two :2\r\nthree\u2028four\n".encode())
    assert read_phrases(path) == {"one two": 2.0, "three\u2028four": BOOST}


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(SourceError, match="expected a hotword in each line"):
        read_phrases(tmp_path / "none.txt")
