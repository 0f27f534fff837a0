"""An experiment of ESPnet's `asr` task, from its folder to the text of a recording."""

import pytest

from deploy_bias.bundle import Bundle
from deploy_bias.errors import OptionError
from deploy_bias.export import ExportOptions, export_bundle
from deploy_bias.runtime import OfflineRecognizer
from tests.espnet.asr_task import Experiment, config_of
from tests.espnet.speech import RATE, samples_of

LSTM = {"rnn_type": "lstm", "num_layers": 2, "hidden_size": 12}
GRU = {"rnn_type": "gru", "num_layers": 1, "hidden_size": 10}


@pytest.fixture(scope="module")
def e_branchformer(tmp_path_factory):
    """An E-Branchformer and an LSTM whose joint network is of 2022."""
    folder = tmp_path_factory.mktemp("asr") / "e_branchformer"
    made = Experiment(folder, config_of("e_branchformer", decoder_conf=LSTM), lin_dec_bias=False)
    export_bundle(folder, folder / "bundle", ExportOptions(backends=("onnx",)))
    return made


@pytest.fixture(scope="module")
def multi_blank(tmp_path_factory):
    """A conformer with legacy positions, a GRU, and blanks of several frames."""
    folder = tmp_path_factory.mktemp("asr") / "multi_blank"
    tokens = ["<blank3>", "<blank2>", "<blank>", *(f"t{i}" for i in range(9))]
    config = config_of(
        "conformer",
        {"rel_pos_type": "legacy"},
        decoder_conf=GRU,
        token_list=tokens,
        model_conf={"transducer_multi_blank_durations": [2, 3]},
    )
    made = Experiment(folder, config, durations=(3, 2, 1))
    export_bundle(folder, folder / "bundle", ExportOptions(backends=("onnx",)))
    return made


def recognise(made, name, search, nbest=1, **options):
    recognizer = OfflineRecognizer(made.folder / "bundle", search=search, **options, lead_in=0)
    stream = recognizer.create_stream()
    stream.accept_waveform(RATE, samples_of(name))
    stream.input_finished()
    recognizer.decode_stream(stream)
    return recognizer.get_nbest(stream, nbest)


def same(ours, theirs):
    assert [result.labels for result in ours] == [tuple(hyp.yseq[1:]) for hyp in theirs]
    for result, hyp in zip(ours, theirs, strict=True):
        assert abs(result.score - float(hyp.score)) < 1e-3
        assert result.labels


@pytest.mark.parametrize("name", ["prompts_0", "prompts_4"])
class TestRecognition:
    def test_default(self, e_branchformer, name):
        ours = recognise(e_branchformer, name, "default", 2, beam_size=4, score_norm=True)
        same(ours, e_branchformer.search(name, beam_size=4, nbest=2))

    def test_greedy(self, e_branchformer, name):
        ours = recognise(e_branchformer, name, "asr_greedy")
        same(ours, e_branchformer.search(name, beam_size=1))

    def test_multi_blank(self, multi_blank, name):
        ours = recognise(multi_blank, name, "mbg")
        same(ours, multi_blank.search(name, beam_size=1, search_type="mbg"))


def test_its_graphs_take_whole_utterances_without_asking(e_branchformer):
    manifest = Bundle(e_branchformer.folder / "bundle").manifest
    graphs = {graph.name for artifact in manifest.artifacts for graph in artifact.graphs}
    assert graphs == {"offline_frontend", "offline_encoder", "decoder", "joint"}
    assert manifest.options["offline"] is True


def test_a_backend_that_takes_none_is_refused(e_branchformer, tmp_path):
    with pytest.raises(
        OptionError, match=r"--offline, which this model needs: .* --backend executorch or onnx"
    ):
        export_bundle(
            e_branchformer.folder, tmp_path / "bundle", ExportOptions(backends=("torchscript",))
        )


@pytest.mark.parametrize("search", ["greedy", "asr_greedy", "default", "maes"])
def test_a_search_that_knows_one_blank_is_refused_for_several(multi_blank, search):
    with pytest.raises(OptionError, match=r"the model has 3 blanks, .* take the search mbg"):
        recognise(multi_blank, "prompts_0", search)
