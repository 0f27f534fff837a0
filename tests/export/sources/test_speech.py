"""The frontend and the encoder of an experiment: read whole, or refused by name."""

import shutil

import numpy as np
import pytest
import torch
import yaml
from espnet2.layers.utterance_mvn import UtteranceMVN as EspnetUtteranceMVN

from deploy_bias.bundle.contract import settings_of
from deploy_bias.bundle.settings import EncoderSettings, FrontendSettings
from deploy_bias.errors import OptionError, SourceError
from deploy_bias.export import ExportOptions, export_bundle
from deploy_bias.export.graphs.model import model_graphs, offline_graphs, streaming_notes
from deploy_bias.export.sources import espnet
from deploy_bias.export.sources.files import Files
from deploy_bias.model.encoder import build_encoder
from deploy_bias.model.frontend import UtteranceMVN
from deploy_bias.runtime import load
from tests.espnet.models import largest

CONV1D = {"block_type": "conv1d", "output_size": 96, "kernel_size": 3}
BLOCK = {
    "block_type": "conformer",
    "hidden_size": 16,
    "linear_size": 24,
    "conv_mod_kernel_size": 5,
}


@pytest.fixture(scope="module")
def parts(digits):
    config = yaml.safe_load((digits / "config.yaml").read_text())
    return config, torch.load(digits / "valid.loss.best.pth", weights_only=True)


def speech(config, state, folder):
    """The graphs for whole utterances of an experiment."""
    source = espnet.read(config, state, files_of(folder), "here")
    return offline_graphs(source, ExportOptions(offline=True))


def files_of(folder):
    return Files(folder / "valid.loss.best.pth", folder / "config.yaml")


@pytest.fixture
def changed(digits, tmp_path):
    """Make a copy of the shipped experiment with another configuration."""

    def make(**options):
        folder = tmp_path / "experiment"
        folder.mkdir()
        for name in ("valid.loss.best.pth", "feats_stats.npz"):
            shutil.copy(digits / name, folder)
        config = yaml.safe_load((digits / "config.yaml").read_text()) | options
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        return folder

    return make


def test_every_weight_is_the_checkpoints(parts, tmp_path):
    _, state = parts
    weights = {}
    for graph in speech(*parts, tmp_path):
        weights |= graph.weights()
    assert weights.keys() == {
        name for name in state if name.startswith(("frontend.", "normalize.", "encoder."))
    }
    assert all(torch.equal(tensor, state[name]) for name, tensor in weights.items())


def test_global_mvn_needs_no_statistics_file(parts, tmp_path):
    config, state = parts
    frontend, _ = speech(config | {"normalize_conf": {}}, state, tmp_path)
    assert frontend.normalize is not None


def test_every_option_of_a_normalisation_is_read(parts, tmp_path):
    config, state = parts
    conf = {"norm_vars": True, "norm_means": False, "eps": 3.0}
    frontend, _ = speech(
        config | {"normalize": "utterance_mvn", "normalize_conf": conf}, state, tmp_path
    )
    samples = torch.randn(1, 4000) / 10
    features = frontend.frontend(samples)
    expected, _ = EspnetUtteranceMVN(**conf)(features.clone())
    assert (
        largest(frontend.eager(torch.float32)({"samples": samples})["features"] - expected) < 1e-5
    )
    without, _ = EspnetUtteranceMVN(**conf | {"eps": 1e-20})(features.clone())
    assert largest(expected - without) > 1


def test_without_a_word_of_normalisation_it_is_espnets_default(parts, tmp_path):
    config, state = parts
    silent = {name: value for name, value in config.items() if "normalize" not in name}
    frontend, _ = speech(silent, state, tmp_path)
    assert isinstance(frontend.normalize, UtteranceMVN)


@pytest.mark.parametrize("without", [{"encoder_conf": None}, {"input_size": 40}])
def test_without_an_encoder_on_samples_there_is_none(parts, tmp_path, without):
    config, state = parts
    source = espnet.read(config | without, state, files_of(tmp_path), "here")
    assert source.parts.keys() == {"decoder", "joint"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frontend": "s3prl"}, "frontend 's3prl' is not supported; default is"),
        ({"frontend_conf": {"n_mels": 41}}, "the weights do not fit frontend_conf"),
        ({"frontend_conf": {"apply_stft": False}}, "frontend_conf: apply_stft must be true"),
        ({"frontend_conf": {"nmels": 40}}, "frontend_conf: .*nmels"),
        ({"normalize": "cmvn"}, "normalize 'cmvn' is not supported; global_mvn"),
        ({"normalize_conf": {"norm_mean": True}}, "normalize_conf: .*'norm_mean'"),
        ({"normalize_conf": {"norm_means": 1}}, "normalize_conf: norm_means must be true or false"),
        (
            {"normalize": "utterance_mvn", "normalize_conf": {"eps": "1e-20"}},
            "normalize_conf: eps must be a number, got '1e-20'",
        ),
        (
            {"encoder_conf": {"body_conf": [BLOCK | {"head": 2}]}},
            r"body_conf\[0\]: option 'head' is",
        ),
        (
            {"encoder_conf": {"body_conf": [BLOCK], "input_conf": {"vgg": True}}},
            "input_conf: option 'vgg' is unknown",
        ),
        (
            {"encoder_conf": {"body_conf": [BLOCK], "main_conf": {"left_chunk_size": 4}}},
            "option 'left_chunk_size' is unknown",
        ),
        ({"encoder_conf": {"body_conf": [{"block_type": "lstm"}]}}, "block_type must be one of"),
        ({"encoder_conf": {"main_conf": {}}}, "encoder_conf must be body_conf"),
    ],
)
def test_what_is_not_supported_is_named(parts, tmp_path, change, message):
    config, state = parts
    with pytest.raises(SourceError, match=message):
        speech(config | change, state, tmp_path)


def test_missing_or_bad_weights_are_named(parts, tmp_path):
    config, state = parts
    name = "encoder.encoders.blocks.0.self_att.linear_q.weight"
    with pytest.raises(SourceError, match=r"linear_q\.weight"):
        speech(config, {k: v for k, v in state.items() if k != name}, tmp_path)
    with pytest.raises(SourceError, match="expected finite values"):
        speech(config, state | {name: state[name] * torch.inf}, tmp_path)
    with pytest.raises(SourceError, match=r"normalize.std, got mean; global_mvn has both"):
        speech(config, {k: v for k, v in state.items() if k != "normalize.std"}, tmp_path)


def test_the_contract_says_how_to_stream(digits_bundle):
    graphs = load(digits_bundle)
    frontend, encoder = (graphs[name].contract for name in ("frontend", "encoder"))
    settings = settings_of(frontend, FrontendSettings)
    assert (settings.fs, settings.decoding_window) == (8000, 5120)
    assert encoder.inputs[0].shape == (1, 92, 40)
    assert encoder.outputs[0].rows.count(92) == encoder.outputs[0].shape[1]
    assert {rule.update for rule in encoder.state} == {"count", "append"}


def test_chunks_of_another_length(changed, tmp_path):
    options = ExportOptions(backends=["onnx"], chunk_ms=320, left_context=7)
    export_bundle(changed(), tmp_path / "b", options)
    encoder = load(tmp_path / "b")["encoder"].contract
    assert settings_of(encoder, EncoderSettings).left_context == 7
    assert encoder.inputs[3].shape == (1, 7, 96)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chunk_ms": 50}, "cannot stream in chunks of 50 ms"),
        ({"chunk_ms": 0}, "--chunk-ms must be at least 1, got 0"),
        ({"left_context": 0}, "--left-context must be at least 1"),
    ],
)
def test_chunks_that_cannot_be(digits, tmp_path, options, message):
    with pytest.raises(OptionError, match=message):
        export_bundle(digits, tmp_path / "b", ExportOptions(backends=["onnx"], **options))
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"normalize": "utterance_mvn", "normalize_conf": {}}, "utterance_mvn needs the whole"),
        ({"frontend_conf": {"center": False}}, "center must be true"),
        ({"encoder_conf": "conv1d"}, "conv1d without dynamic_chunk_training"),
    ],
)
def test_where_no_chunk_helps_none_is_advised(parts, tmp_path, change, why):
    config, state = parts
    for name, value in change.items():
        options = {"main_conf": {}, "body_conf": [CONV1D]} if value == "conv1d" else value
        both = isinstance(options, dict) and name != "encoder_conf"
        config = config | {name: config[name] | options if both else options}
    state = {name: t for name, t in state.items() if not name.startswith("encoder.")}
    encoder = build_encoder(config)
    state |= {f"encoder.{name}": tensor for name, tensor in encoder.state_dict().items()}
    source = espnet.read(config, state, files_of(tmp_path), "here")
    with pytest.raises(OptionError, match=f"cannot stream: .*{why}") as refusal:
        model_graphs(source, ExportOptions())
    assert "other chunks" not in str(refusal.value)
    assert "--offline" in str(refusal.value)


def test_a_frontend_for_which_espnet_loses_frames_is_told_of(parts, tmp_path):
    config, state = parts
    for hop, told in ((64, False), (80, True)):
        conf = config["frontend_conf"] | {"hop_length": hop}
        source = espnet.read(config | {"frontend_conf": conf}, state, files_of(tmp_path), "here")
        notes = streaming_notes(model_graphs(source, ExportOptions()))
        assert ["loses frames at the borders" in note for note in notes] == [True] * told


class TestOffline:
    @pytest.mark.parametrize("length", [1500, 8001, 20_000])
    def test_utterances_of_any_length_equal_eager(self, offline_bundle, tmp_path, parts, length):
        graphs = load(offline_bundle)
        assert graphs.keys() == {"offline_frontend", "offline_encoder", "bias", "decoder", "joint"}
        frontend, encoder = speech(*parts, tmp_path)
        samples = torch.randn(1, length) / 10
        (features,) = graphs["offline_frontend"](samples=samples.numpy()).values()
        with torch.no_grad():
            (expected,) = frontend.eager(torch.float32)({"samples": samples}).values()
            frames = encoder.encoder(expected, torch.tensor([expected.size(1)]))[0]
        assert abs(features - expected.numpy()).max() < 1e-4
        rest = encoder.length.at_least(features.shape[1]) - features.shape[1]
        padded = np.pad(features, ((0, 0), (0, rest), (0, 0)))
        count = np.array([features.shape[1]])
        (encoder_out,) = graphs["offline_encoder"](features=padded, frames=count).values()
        assert abs(encoder_out[:, : frames.size(1)] - frames.numpy()).max() < 1e-4

    def test_a_model_that_cannot_stream_is_told_of_it(self, changed, tmp_path):
        folder = changed(normalize="utterance_mvn", normalize_conf={})
        with pytest.raises(OptionError, match=r"needs the whole utterance\..*--offline"):
            export_bundle(folder, tmp_path / "b", ExportOptions(backends=["onnx"]))
        export_bundle(folder, tmp_path / "b", ExportOptions(backends=["onnx"], offline=True))
        assert "offline_frontend" in load(tmp_path / "b")

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"backends": ["torchscript"]}, "--offline: none of torchscript can"),
            ({"backends": ["onnx"]}, "has no encoder"),
        ],
    )
    def test_what_cannot_be(self, digits, changed, tmp_path, options, message):
        bare = options["backends"] == ["onnx"]
        source = changed(encoder_conf=None) if bare else digits
        with pytest.raises(OptionError, match=message):
            export_bundle(source, tmp_path / "b", ExportOptions(offline=True, **options))
