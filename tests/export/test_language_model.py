"""ESPnet's language model beside a transducer: exported, proven, and searched with."""

import numpy as np
import pytest
import torch
import yaml
from espnet2.lm.seq_rnn_lm import SequentialRNNLM as Espnet

from deploy_bias.bundle import Bundle
from deploy_bias.errors import ContractError, OptionError, SourceError
from deploy_bias.export import ExportOptions, export_bundle
from deploy_bias.export.graphs import BundleWeights
from deploy_bias.export.steps.language_model import LanguageModelStep
from deploy_bias.model.language_model import SequentialRNNLM
from deploy_bias.runtime import Decoder, Joint, LanguageModel, load, open_search
from tests.espnet.models import perturb
from tests.espnet.searches import LMS

VOCAB = 7
TOKENS = ["<blank>", *(f"t{i}" for i in range(1, VOCAB))]
BACKENDS = ("onnx", "executorch", "torchscript")


def write_lm(folder, tokens=TOKENS, lm="seq_rnn", **conf):
    """The experiment folder of a language model, as ESPnet's training leaves it."""
    torch.manual_seed(0)
    conf = {"unit": 64, "nlayers": 2} | conf
    model = perturb(Espnet(len(tokens), **conf))
    folder.mkdir(parents=True)
    state = {f"lm.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save(state, folder / "valid.loss.ave.pth")
    config = {"lm": lm, "lm_conf": conf, "token_list": tokens}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return model


@pytest.mark.parametrize("conf", LMS)
def test_step_by_step_it_is_espnets(conf):
    torch.manual_seed(0)
    theirs = perturb(Espnet(VOCAB, **conf))
    ours = SequentialRNNLM(VOCAB, **conf).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    labels = torch.randint(VOCAB, (2, 12))
    step = LanguageModelStep(ours, batch=2)
    _, *states = step.example_inputs()
    logits, hidden = [], None
    for label in labels.split(1, dim=1):
        found, *states = step(label, *states)
        with torch.no_grad():
            expected, hidden = theirs(label, hidden)
        torch.testing.assert_close(found, expected[:, 0], atol=1e-6, rtol=1e-5)
        logits.append(found)
    torch.testing.assert_close(torch.stack(logits, 1), ours(labels), atol=1e-6, rtol=1e-5)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A transducer of the pieces of `experiment`, with a language model, on all backends."""
    from espnet2.asr_transducer.decoder.stateless_decoder import StatelessDecoder
    from espnet2.asr_transducer.joint_network import JointNetwork

    folder = tmp_path_factory.mktemp("lm")
    torch.manual_seed(0)
    decoder = perturb(StatelessDecoder(VOCAB, embed_size=32))
    joint = perturb(JointNetwork(VOCAB, 12, 32, joint_space_size=32))
    state = {
        f"{prefix}.{name}": tensor
        for prefix, module in (("decoder", decoder), ("joint_network", joint))
        for name, tensor in module.state_dict().items()
    }
    (folder / "asr").mkdir()
    torch.save(state, folder / "asr" / "valid.loss.best.pth")
    config = {
        "decoder": "stateless",
        "decoder_conf": {"embed_size": 32},
        "joint_network_conf": {"joint_space_size": 32},
        "token_list": TOKENS,
    }
    (folder / "asr" / "config.yaml").write_text(yaml.safe_dump(config))
    write_lm(folder / "lm", unit=32, nlayers=1)
    options = ExportOptions(backends=BACKENDS, precisions=("fp32", "int8"))
    report = export_bundle(folder / "asr", folder / "bundle", options, lm=folder / "lm")
    return Bundle(folder / "bundle"), report


def test_it_is_proven_on_every_backend_and_precision(bundle):
    _, report = bundle
    proven = [(r.backend, r.precision) for r in report.results if r.graph == "lm"]
    assert sorted(proven) == [
        ("executorch", "fp32"),
        ("executorch", "int8"),
        ("onnx", "fp32"),
        ("onnx", "int8"),
        ("torchscript", "fp32"),
    ]
    assert report.passed
    quantised = [r for r in report.results if r.graph == "lm" and r.precision == "int8"]
    assert all(r.agreement.compared > 100 for r in quantised)


def test_a_changed_weight_is_noticed(bundle):
    """The proof reads the weights of the bundle, and not the artifact's."""
    opened, _ = bundle
    contract = load(opened)["lm"].contract
    weights = BundleWeights(opened)
    before = weights.graph(contract).eager(torch.float64)
    weights.tensors["lm.rnn.weight_hh_l0"] = weights.tensors["lm.rnn.weight_hh_l0"] + 0.1
    after = weights.graph(contract).eager(torch.float64)
    inputs = {
        "label": torch.tensor([[1]]),
        "hidden": torch.ones(1, 1, 32, dtype=torch.float64),
        "cell": torch.ones(1, 1, 32, dtype=torch.float64),
    }
    assert (before(inputs)["logits"] - after(inputs)["logits"]).abs().max() > 1e-3


def test_every_backend_finds_the_same(bundle):
    opened, _ = bundle
    frames = np.random.default_rng(0).standard_normal((12, 12)).astype(np.float32)
    results = []
    for backend in BACKENDS:
        graphs = load(opened, backend)
        parts = Decoder(graphs["decoder"]), Joint(graphs["joint"])
        search = open_search("maes", *parts, lm=LanguageModel(graphs["lm"]), beam_size=3)
        search.accept(frames)
        results.append(search.results()[0])
    assert len({result.labels for result in results}) == 1
    assert max(result.score for result in results) - min(r.score for r in results) < 1e-4


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("tokens", "message"),
        [
            (TOKENS[:-1], "has 6 tokens and the transducer 7"),
            ([*TOKENS[:-1], "x"], "token 6 is 'x', and the transducer's is 't6'"),
        ],
    )
    def test_another_vocabulary(self, experiment, tmp_path, tokens, message):
        folder, _ = experiment()
        write_lm(tmp_path / "lm", tokens)
        with pytest.raises(SourceError, match=message):
            export_bundle(folder, tmp_path / "b", lm=tmp_path / "lm")

    def test_another_kind_of_model(self, experiment, tmp_path):
        folder, _ = experiment()
        write_lm(tmp_path / "lm", lm="transformer")
        with pytest.raises(SourceError, match="lm is 'transformer'; supported: 'seq_rnn'"):
            export_bundle(folder, tmp_path / "b", lm=tmp_path / "lm")

    def test_a_bundle_without_one(self, run, digits_bundle):
        frames = digits_bundle.folder / "frames.npy"
        np.save(frames, np.zeros((3, 96), np.float32))
        status, _, err = run(
            "decode", digits_bundle.folder, frames, "--search", "maes", "--lm-weight", 0.5
        )
        frames.unlink()
        assert status == 2
        assert "has no language model; export again with --lm" in " ".join(err.split())

    @pytest.mark.parametrize("weight", [float("nan"), -1.0])
    def test_a_weight(self, bundle, weight):
        graphs = load(bundle[0])
        parts = Decoder(graphs["decoder"]), Joint(graphs["joint"])
        lm = LanguageModel(graphs["lm"])
        with pytest.raises(OptionError, match="lm_weight must be a number, 0 or more"):
            open_search("maes", *parts, lm=lm, lm_weight=weight)
        with pytest.raises(OptionError, match="lm_weight: the greedy search has no beam"):
            open_search("greedy", *parts, lm=lm)
        with pytest.raises(ContractError, match="graph 'decoder' is no lm"):
            LanguageModel(graphs["decoder"])
