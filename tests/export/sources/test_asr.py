"""The `asr` task's transducers, against ESPnet's own modules of that task."""

import pytest
import torch

from deploy_bias.bundle.contract import ModuleSpec
from deploy_bias.errors import SourceError
from deploy_bias.export.graphs.encoder import build_encoder
from deploy_bias.export.sources.asr import blank_durations, translate
from deploy_bias.export.sources.state_dict import build, part
from deploy_bias.model.decoder.rnn_decoder import RNNDecoder
from deploy_bias.model.joint import JointNetwork
from tests.espnet.asr_task import FEATURES, VOCAB, config_of, modules_of, state_of
from tests.espnet.models import largest

ENCODERS = [
    ("conformer", {}),
    ("conformer", {"rel_pos_type": "legacy"}),
    ("conformer", {"output_size": 24, "activation_type": "relu", "input_layer": "conv2d6"}),
    ("e_branchformer", {}),
    ("e_branchformer", {"rel_pos_type": "legacy"}),
    ("e_branchformer", {"ffn_activation_type": "hardtanh", "input_layer": "conv2d2"}),
]


def translated(config, modules):
    return translate(config, state_of(modules), "model")


def encoder_of(config, state):
    options = {"input_size": FEATURES, **config["encoder_conf"]}
    return build_encoder(
        ModuleSpec(type="Encoder", weights="encoder", options=options), state, "model"
    )


class TestEncoder:
    @pytest.mark.parametrize("case", ENCODERS, ids=str)
    @torch.no_grad()
    def test_frames_are_those_of_espnet(self, case):
        config = config_of(*case)
        modules = modules_of(config)
        encoder = encoder_of(*translated(config, modules))
        for frames in (33, 61, 130, 400):
            x, count = torch.randn(1, frames, FEATURES), torch.tensor([frames])
            expected, counts, _ = modules["encoder"](x, count)
            out, ours = encoder(x, count)
            assert ours.tolist() == counts.tolist()
            assert largest(out - expected) < 1e-5 * largest(expected)

    @torch.no_grad()
    def test_without_rel_pos_type_a_conformer_is_legacy(self):
        config = config_of("conformer")
        del config["encoder_conf"]["rel_pos_type"]
        modules = modules_of(config)
        encoder = encoder_of(*translated(config, modules))
        assert encoder.legacy
        x, count = torch.randn(1, 90, FEATURES), torch.tensor([90])
        assert largest(encoder(x, count)[0] - modules["encoder"](x, count)[0]) < 1e-5

    @torch.no_grad()
    def test_legacy_positions_end_where_espnet_would_change_what_comes_after(self):
        conf = {"rel_pos_type": "legacy", "output_size": 4, "num_blocks": 1, "linear_units": 4}
        config = config_of("conformer", {**conf, "attention_heads": 1})
        modules = modules_of(config)
        encoder = encoder_of(*translated(config, modules))
        most = encoder.most_frames
        assert (most - encoder.offset) // encoder.stride == 5000
        with pytest.raises(ValueError, match=f"at most {most} frames, got {most + 1}"):
            encoder(torch.zeros(1, most + 1, FEATURES), torch.tensor([most + 1]))
        x, count = torch.randn(1, 61, FEATURES), torch.tensor([61])
        before = modules["encoder"](x, count)[0]
        assert largest(encoder(x, count)[0] - before) < 1e-5
        modules["encoder"](torch.zeros(1, most + 1, FEATURES), torch.tensor([most + 1]))
        assert largest(modules["encoder"](x, count)[0] - before) > 1e-3


class TestDecoderAndJoint:
    @pytest.mark.parametrize("rnn_type", ["lstm", "gru"])
    @torch.no_grad()
    def test_the_decoder_is_the_rnn_decoder(self, rnn_type):
        conf = {"rnn_type": rnn_type, "num_layers": 2, "hidden_size": 12, "dropout": 0.1}
        config = config_of(decoder_conf=conf)
        modules = modules_of(config)
        told, state = translated(config, modules)
        assert told["decoder"] == "rnn"
        decoder = RNNDecoder(VOCAB, **told["decoder_conf"]).eval()
        decoder.load_state_dict(part("decoder", state), strict=True)
        labels = torch.randint(VOCAB, (3, 20))
        assert largest(decoder(labels) - modules["decoder"](labels)) < 1e-6

    def test_the_hidden_size_is_espnets_default(self):
        told, _ = translate(config_of(decoder_conf={}), {}, "model")
        assert told["decoder_conf"]["hidden_size"] == told["decoder_conf"]["embed_size"] == 320

    @pytest.mark.parametrize("bias", [True, False])
    @torch.no_grad()
    def test_a_missing_bias_of_lin_dec_is_none(self, bias):
        config = config_of()
        modules = modules_of(config, lin_dec_bias=bias)
        told, state = translated(config, modules)
        sizes = {"output_size": VOCAB, "encoder_size": 16, "decoder_size": 12}
        spec = ModuleSpec(
            type="JointNetwork",
            weights="joint_network",
            options={**sizes, **told["joint_network_conf"]},
        )
        joint = build(JointNetwork, spec, "joint_network_conf", state, "model")
        frame, out = torch.randn(3, 16), torch.randn(3, 12)
        assert torch.equal(joint(frame, out), modules["joint_network"](frame, out))

    def test_ctc_is_left_out(self):
        _, state = translate(config_of(), {"ctc.ctc_lo.weight": torch.zeros(1)}, "model")
        assert state == {}


MULTI_BLANK = {"transducer_multi_blank_durations": [2, 3, 4]}
BLANKS = ["<blank4>", "<blank3>", "<blank2>", "<blank>"]


class TestMultiBlank:
    def test_the_big_blanks_come_first_and_the_usual_one_last(self):
        config = config_of(model_conf=MULTI_BLANK)
        assert blank_durations(config) == (4, 3, 2, 1)
        told, _ = translate(config, {}, "model")
        assert told["token_list"] == [*BLANKS, *config["token_list"][1:]]

    def test_tokens_that_have_them_stay(self):
        config = config_of(model_conf=MULTI_BLANK, token_list=[*BLANKS, "a"])
        assert translate(config, {}, "model")[0]["token_list"] == [*BLANKS, "a"]

    @pytest.mark.parametrize("tokens", [["a", "<blank>"], ["a"], [], None])
    def test_tokens_without_a_blank_at_the_beginning(self, tokens):
        config = config_of(model_conf=MULTI_BLANK, token_list=tokens)
        with pytest.raises(SourceError, match="expected a list that begins with <blank>, or with"):
            translate(config, {}, "model")

    def test_any_other_model_has_one(self):
        assert blank_durations(config_of(model_conf={"ctc_weight": 0.3})) == (1,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": "transformer"}, "encoder 'transformer' is not supported .* conformer"),
        ({"encoder": None}, "encoder None is not supported"),
        ({"preencoder": "sinc"}, "preencoder 'sinc' is not supported"),
        ({"postencoder": "length_adaptor"}, "postencoder 'length_adaptor' is not supported"),
        ({"model": "pit_espnet"}, "model 'pit_espnet' is not supported; espnet is"),
        ({"decoder_conf": {"embed_size": 3}}, "decoder_conf: option 'embed_size' is unknown"),
    ],
)
def test_a_model_that_is_refused(changes, message):
    with pytest.raises(SourceError, match=message):
        translate({**config_of(), **changes}, {}, "model")


@pytest.mark.parametrize(
    ("encoder", "conf", "message"),
    [
        ("conformer", {"macaron_style": False}, "macaron_style False is not supported; True is"),
        ("conformer", {"use_cnn_module": False}, "use_cnn_module False is not supported"),
        ("conformer", {"normalize_before": False}, "normalize_before False is not supported"),
        ("conformer", {"input_layer": "conv2d8"}, "input_layer 'conv2d8' is not supported"),
        ("conformer", {"pos_enc_layer_type": "abs_pos"}, "pos_enc_layer_type 'abs_pos' is not"),
        (
            "conformer",
            {"selfattention_layer_type": "selfattn"},
            "selfattention_layer_type 'selfattn' is not",
        ),
        ("conformer", {"interctc_use_conditioning": True}, "interctc_use_conditioning True is"),
        ("conformer", {"activation_type": "gelu"}, "activation_type 'gelu' is not supported"),
        ("conformer", {"cgmlp_linear_units": 3}, "option 'cgmlp_linear_units' is unknown"),
        ("e_branchformer", {"gate_activation": "tanh"}, "gate_activation 'tanh' is not supported"),
        ("e_branchformer", {"use_linear_after_conv": True}, "use_linear_after_conv True is not"),
        (
            "conformer",
            {"rel_pos_type": "legacy", "max_pos_emb_len": 100},
            "max_pos_emb_len 100 is not supported with rel_pos_type legacy; 5000 is",
        ),
    ],
)
def test_an_option_of_an_encoder_that_is_refused(encoder, conf, message):
    with pytest.raises(SourceError, match=f"encoder_conf: {message}"):
        translate(config_of(encoder, conf), {}, "model")


def test_what_espnet_leaves_out_is_named_as_its_default():
    config = config_of("e_branchformer")
    del config["encoder_conf"]["use_ffn"]
    with pytest.raises(SourceError, match="use_ffn False, ESPnet's default, is not supported"):
        translate(config, {}, "model")
