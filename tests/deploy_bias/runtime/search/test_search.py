"""Searches give what ESPnet's BeamSearchTransducer gives on the same encoder frames."""

import numpy as np
import pytest
import torch
import yaml
from espnet2.asr_transducer.beam_search_transducer import BeamSearchTransducer
from espnet2.asr_transducer.joint_network import JointNetwork

from deploy_bias.errors import ContractError, OptionError
from deploy_bias.runtime import Decoder, Joint, load, open_search
from tests.espnet.decoders import ESPNET, rescale_as_speech2text

BACKENDS = ("onnx", "executorch", "torchscript")


def espnet(folder):
    """ESPnet's decoder and joint network of an experiment folder."""
    config = yaml.safe_load((folder / "config.yaml").read_text())
    state = torch.load(folder / "valid.loss.best.pth", weights_only=True)
    vocab = len(config["token_list"])
    decoder = ESPNET[config.get("decoder", "rnn")](vocab, **config["decoder_conf"])
    encoder_size = state["joint_network.lin_enc.weight"].shape[1]
    joint = JointNetwork(vocab, encoder_size, decoder.output_size, **config["joint_network_conf"])
    for prefix, module in (("decoder", decoder), ("joint_network", joint)):
        own = {
            name.removeprefix(f"{prefix}."): tensor
            for name, tensor in state.items()
            if name.startswith(f"{prefix}.")
        }
        module.load_state_dict(own, strict=True)
        module.eval()
    if getattr(decoder, "rescale_every", 0) > 0:
        rescale_as_speech2text(decoder)
    return decoder, joint, encoder_size


@torch.no_grad()
def espnet_search(folder, pieces, search, nbest=3, **options):
    decoder, joint, _ = espnet(folder)
    found = BeamSearchTransducer(
        decoder, joint, search_type=search, nbest=nbest, streaming=True, **options
    )
    for piece in pieces[:-1]:
        found(torch.from_numpy(piece), is_final=False)
    return found(torch.from_numpy(pieces[-1]), is_final=True)


def search(graphs, pieces, name, nbest=3, **options):
    found = open_search(name, Decoder(graphs["decoder"]), Joint(graphs["joint"]), **options)
    for piece in pieces:
        found.accept(piece)
    return found.results(nbest)


def frames(count, size=96, seed=0, scale=0.5):
    return scale * np.random.default_rng(seed).standard_normal((count, size)).astype(np.float32)


def same(theirs, ours):
    assert len(theirs) == len(ours)
    for a, b in zip(theirs, ours, strict=True):
        assert tuple(a.yseq[1:]) == b.labels
        assert abs(float(a.score) - b.score) < 1e-3
        assert len(b.frames) == len(b.labels)
        assert list(b.frames) == sorted(b.frames)


SEARCHES = [
    ("default", {"beam_size": 1}),
    ("default", {"beam_size": 4}),
    ("default", {"beam_size": 4, "score_norm": True}),
    ("default", {"beam_size": 14}),
    ("maes", {"beam_size": 1}),
    ("maes", {"beam_size": 4}),
    ("maes", {"beam_size": 3, "nstep": 3, "expansion_gamma": 5.0, "expansion_beta": 4}),
    ("maes", {"beam_size": 4, "nstep": 1, "score_norm": True}),
]


@pytest.mark.parametrize(("name", "options"), SEARCHES)
def test_labels_and_scores_are_those_of_espnet(digits, digits_bundle, name, options):
    graphs = load(digits_bundle)
    for seed in range(2):
        found = frames(15, seed=seed)
        theirs = espnet_search(digits, [found[:6], found[6:]], name, **options)
        same(theirs, search(graphs, [found[:2], found[2:2], found[2:]], name, **options))


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_backend(digits, digits_bundle, backend):
    found = frames(40, seed=5)
    for name in ("default", "maes"):
        theirs = espnet_search(digits, [found], name, beam_size=4)
        same(theirs, search(load(digits_bundle, backend), [found], name, beam_size=4))


@pytest.mark.parametrize("name", ["digits_55", "prompts_3", "prompts_4"])
def test_real_speech(digits, digits_bundle, name):
    found = np.load(digits / "encoder_out" / f"{name}.npy")
    for kind, beam_size in (("default", 1), ("default", 5), ("maes", 5)):
        theirs = espnet_search(digits, [found], kind, beam_size=beam_size)
        same(theirs, search(load(digits_bundle), [found], kind, beam_size=beam_size))


@pytest.mark.parametrize("batch", [1, 4])
def test_a_random_model_with_chunks(experiment, tmp_path, export_unproven, batch):
    folder, _ = experiment(chunk_size=5, max_positions=20, rel_pos_bias_type="rotary")
    graphs = load(export_unproven(folder, tmp_path / "bundle", backends=["onnx"], batch=batch))
    found = frames(30, 12, scale=1.0)
    for name, options in (("default", {"beam_size": 2}), ("maes", {"beam_size": 4})):
        same(
            espnet_search(folder, [found], name, **options),
            search(graphs, [found], name, **options),
        )


def test_greedy_takes_the_best_label_of_each_step(digits, digits_bundle):
    found = frames(60, seed=3)
    decoder, joint, _ = espnet(digits)
    labels, score, state = [], 0.0, decoder.init_state(1)
    out, state = decoder.score([0], state)
    for frame in torch.from_numpy(found):
        while True:
            with torch.no_grad():
                log_probs = joint(frame[None], out).log_softmax(-1)[0]
            label = int(log_probs.argmax())
            score += float(log_probs[label])
            if label == 0:
                break
            labels.append(label)
            out, state = decoder.score([0, *labels], state)
    (best,) = search(load(digits_bundle), [found], "greedy")
    assert best.labels == tuple(labels)
    assert abs(best.score - score) < 1e-3


def test_a_model_that_never_says_blank_comes_to_an_end(digits_bundle):
    never = frames(3, seed=1, scale=30.0)
    for name, options in (("greedy", {}), ("default", {"beam_size": 2}), ("maes", {})):
        assert search(load(digits_bundle), [never], name, **options)


def test_a_reset_begins_anew(digits_bundle):
    graphs = load(digits_bundle)
    found = open_search("maes", Decoder(graphs["decoder"]), Joint(graphs["joint"]))
    first = frames(20)
    found.accept(first)
    before = found.results(2)
    found.accept(frames(9, seed=8))
    found.reset()
    found.accept(first)
    assert found.results(2) == before


class TestWhatIsRefused:
    @pytest.fixture
    def open_greedy(self, digits_bundle):
        graphs = load(digits_bundle)
        return open_search("greedy", Decoder(graphs["decoder"]), Joint(graphs["joint"]))

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            (np.where(np.arange(3)[:, None] == 1, np.nan, frames(3)), "encoder frame 1 of 3"),
            (np.full((1, 96), np.inf, np.float32), "encoder frame 0 of 1 holds NaN or infinity"),
            (frames(3, 95), r"float32 \(frames, 96\), got float32 \(3, 95\)"),
            (frames(3)[None], r"got float32 \(1, 3, 96\)"),
            (frames(3).astype(np.float64), "got float64"),
            (frames(3).tolist(), "got list"),
        ],
    )
    def test_frames(self, open_greedy, wrong, message):
        open_greedy.accept(frames(12))
        before = open_greedy.results()
        if isinstance(wrong, np.ndarray) and np.isnan(wrong).any():
            wrong = wrong.astype(np.float32)
        with pytest.raises(ContractError, match=message):
            open_greedy.accept(wrong)
        assert open_greedy.results() == before

    def test_frames_that_overflow(self, small_bundle):
        graphs = load(small_bundle)
        parts = Decoder(graphs["decoder"]), Joint(graphs["joint"])
        huge = np.full((2, 12), 3e38, np.float32)
        for name in ("greedy", "default", "maes"):
            found = open_search(name, *parts)
            found.accept(frames(2, 12))
            before = found.results()
            run = parts[1].graph.run
            parts[1].graph.run = lambda inputs, run=run: [np.full_like(run(inputs)[0], np.nan)]
            with pytest.raises(ContractError, match="makes NaN or infinity of an encoder frame"):
                found.accept(huge)
            parts[1].graph.run = run
            assert found.results() == before

    @pytest.mark.parametrize("nbest", [0, -1, 1.5, True])
    def test_how_many_results(self, open_greedy, nbest):
        with pytest.raises(OptionError, match="nbest must be an int, 1 or more"):
            open_greedy.results(nbest)

    def test_a_closed_search(self, open_greedy):
        open_greedy.close()
        for use in (open_greedy.reset, lambda: open_greedy.accept(frames(1))):
            with pytest.raises(ContractError, match="closed"):
                use()

    @pytest.mark.parametrize(
        ("name", "options", "message"),
        [
            (
                "beam",
                {},
                "choose from greedy, asr_greedy, mbg, default, maes, tsd, alsd, nsc, asr_maes",
            ),
            ("greedy", {"beam_size": 2}, "beam_size"),
            ("default", {"beam_size": 0}, "beam_size must be an int, 1 or more, got 0"),
            ("default", {"beam_size": 2.5}, "beam_size must be an int"),
            ("maes", {"expansion_gamma": "x"}, "expansion_gamma must be 0 or more"),
            ("default", {"beam_size": 15}, "beam_size must be 1 to 14"),
            ("maes", {"beam_size": 13}, "13 \\+ 2"),
            ("maes", {"nstep": 0}, "nstep must be an int, 1 or more, got 0"),
            ("tsd", {"max_sym_exp": 1}, "max_sym_exp must be an int, 2 or more, got 1"),
            ("alsd", {"u_max": -1}, "u_max must be an int, 0 or more, got -1"),
            ("nsc", {"nstep": 0}, "nstep must be an int, 1 or more, got 0"),
            ("nsc", {"prefix_alpha": -1}, "prefix_alpha must be an int, 0 or more, got -1"),
            ("asr_maes", {"nstep": 1}, "nstep must be an int, 2 or more, got 1"),
            ("asr_maes", {"beam_size": 13}, "13 \\+ 2"),
        ],
    )
    def test_options(self, digits_bundle, name, options, message):
        graphs = load(digits_bundle)
        with pytest.raises(OptionError, match=message):
            open_search(name, Decoder(graphs["decoder"]), Joint(graphs["joint"]), **options)

    def test_two_models(self, digits_bundle, small_bundle):
        other = load(small_bundle)
        with pytest.raises(ContractError, match="take both from one bundle"):
            open_search("greedy", Decoder(other["decoder"]), Joint(load(digits_bundle)["joint"]))
