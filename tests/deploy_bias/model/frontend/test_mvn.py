"""Normalisation of features: ESPnet's to the last bit, and statistics that are none."""

import numpy as np
import pytest
import torch
from espnet2.layers.global_mvn import GlobalMVN as EspnetGlobalMVN
from espnet2.layers.utterance_mvn import UtteranceMVN as EspnetUtteranceMVN

from deploy_bias.model.frontend import GlobalMVN, UtteranceMVN, get_normalize

SWITCHES = pytest.mark.parametrize(
    "options",
    [
        {},
        {"norm_means": False},
        {"norm_vars": False},
        {"norm_vars": True},
        {"norm_means": False, "norm_vars": True},
        {"norm_means": False, "norm_vars": False},
        {"norm_vars": True, "eps": 0.7},
    ],
    ids=str,
)


@pytest.fixture
def stats_file(tmp_path):
    features = np.random.default_rng(0).normal(-3, 2, (500, 6))
    features[:, 2] = 1.0  # a band that never changes has no deviation
    path = tmp_path / "feats_stats.npz"
    np.savez(path, count=500, sum=features.sum(0), sum_square=np.square(features).sum(0))
    return path


@SWITCHES
def test_global_mvn_equals_espnet(stats_file, options):
    theirs = EspnetGlobalMVN(stats_file, **options)
    ours = get_normalize("global_mvn", stats_file=str(stats_file), **options)
    features = torch.randn(2, 9, 6)
    expected, _ = theirs(features.clone(), torch.tensor([9, 9]))
    assert torch.equal(ours(features), expected)
    assert list(ours.state_dict()) == list(theirs.state_dict()) == ["mean", "std"]
    for module, state in ((ours, theirs.state_dict()), (theirs, ours.state_dict())):
        module.load_state_dict(state, strict=True)
    assert torch.equal(ours(features), expected)


@SWITCHES
def test_utterance_mvn_equals_espnet(options):
    theirs, ours = EspnetUtteranceMVN(**options), get_normalize("utterance_mvn", **options)
    features = torch.randn(2, 9, 6)
    expected, _ = theirs(features.clone(), torch.tensor([9, 9]))
    torch.testing.assert_close(ours(features), expected, atol=1e-6, rtol=1e-6)
    assert not ours.state_dict()


@pytest.mark.parametrize("normalize", [UtteranceMVN(), UtteranceMVN(norm_vars=True)])
def test_what_went_in_is_left_alone(normalize):
    features = torch.randn(1, 9, 6)
    before = features.clone()
    normalize(features)
    assert torch.equal(features, before)


def test_a_band_without_deviation_is_finite(stats_file):
    assert GlobalMVN(stats_file)(torch.ones(1, 1, 6)).isfinite().all()


def test_none():
    assert get_normalize(None) is None


def test_an_unknown_name():
    with pytest.raises(ValueError, match="global_mvn, utterance_mvn or null, got 'cmvn'"):
        get_normalize("cmvn")


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("stats.npy", lambda f: np.save(f, np.ones((2, 4))), "count, sum and sum_square, got one"),
        ("stats.npz", lambda f: np.savez(f, sum=np.ones(4)), "count, sum_square missing"),
        ("stats.npz", lambda f: f.write(b"no numpy"), "expected ESPnet's feats_stats.npz"),
        ("stats.npz", lambda f: f.write(b"PK\x03\x04"), "expected ESPnet's feats_stats.npz"),
        ("stats.npz", lambda f: f.write(b""), "expected ESPnet's feats_stats.npz"),
    ],
    ids=["kaldi", "entries", "text", "cut off", "empty"],
)
def test_a_file_without_statistics(tmp_path, name, write, message):
    path = tmp_path / name
    with path.open("wb") as file:
        write(file)
    with pytest.raises(ValueError, match=message):
        GlobalMVN(path)
