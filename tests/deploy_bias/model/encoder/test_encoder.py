"""The encoder over whole utterances, against ESPnet's."""

import copy

import pytest
import torch
from espnet2.asr_transducer.utils import TooShortUttError

from deploy_bias.model.encoder import Encoder, build_encoder
from tests.espnet.encoders import (
    BODIES,
    CAUSAL,
    FEATURES,
    INPUTS,
    SMALL,
    assert_as_near,
    cases,
    digits,
    pair,
    random_conf,
)
from tests.espnet.models import largest

STRIDED = [
    {"block_type": "conv1d", "output_size": 16, "kernel_size": 3, "stride": 2, "dilation": 2},
    {"block_type": "conformer", **SMALL},
]


@torch.no_grad()
def check(ours, theirs, x):
    count = torch.tensor([x.size(1)])
    out, lengths = ours(x, count)
    expected, _ = theirs(x, count)
    exact, _ = copy.deepcopy(theirs).double()(x.double(), count)
    assert_as_near(out, expected, exact)
    assert lengths.tolist() == [out.size(1)]


class TestEqualsEspnet:
    @pytest.mark.parametrize("case", list(cases(BODIES)), ids=str)
    def test_each_option(self, case):
        ours, theirs = pair(*case)
        check(ours, theirs, torch.randn(1, 61, FEATURES))

    @pytest.mark.parametrize("seed", range(20))
    def test_random_models(self, seed):
        ours, theirs = pair(*random_conf(seed).values(), seed=seed)
        check(ours, theirs, torch.randn(1, 40 + seed, FEATURES))

    @pytest.mark.parametrize("conf", INPUTS, ids=str)
    def test_every_remainder_of_the_subsampling(self, conf):
        ours, theirs = pair("conformer", conf)
        for frames in range(23, 36):
            check(ours, theirs, torch.randn(1, frames, FEATURES))

    def test_a_strided_dilated_conv1d(self):
        ours, theirs = pair(STRIDED)
        for frames in range(47, 56):
            check(ours, theirs, torch.randn(1, frames, FEATURES))

    @pytest.mark.parametrize("body", [STRIDED, BODIES["conv1d"]], ids=["strided", "conv1d"])
    def test_the_frames_that_convolutions_leave_out(self, body):
        ours, theirs = pair(body, INPUTS[1])
        least = ours.stride + ours.offset
        for frames in range(least, least + 3 * ours.stride):
            x = torch.randn(1, frames, FEATURES)
            check(ours, theirs, x)
            out, _ = ours(x, torch.tensor([frames]))
            assert out.size(1) == (frames - ours.offset) // ours.stride
        with pytest.raises(ValueError, match=f"at least {least} frames, got {least - 1}"):
            ours(torch.randn(1, least - 1, FEATURES), torch.tensor([least - 1]))

    def test_a_long_utterance(self):
        # Past pos_enc_max_len, where ESPnet extends its table.
        ours, theirs = pair("conformer", main_conf={"pos_enc_max_len": 10})
        check(ours, theirs, torch.randn(1, 1200, FEATURES))

    def test_a_dilation_of_a_single_frame_is_none(self):
        body = [{"block_type": "conv1d", "output_size": 16, "kernel_size": 1, "dilation": 2}]
        for main in ({}, CAUSAL):
            ours, theirs = pair([*body, {"block_type": "conformer", **SMALL}], main_conf=main)
            check(ours, theirs, torch.randn(1, 40, FEATURES))

    @pytest.mark.parametrize("conf", INPUTS[1:], ids=str)
    def test_it_refuses_what_is_too_short_for_espnet(self, conf):
        ours, theirs = pair("conformer", conf)
        least = ours.least_frames
        check(ours, theirs, torch.randn(1, least, FEATURES))
        short = torch.randn(1, least - 1, FEATURES), torch.tensor([least - 1])
        with pytest.raises(TooShortUttError):
            theirs(*short)
        with pytest.raises(ValueError, match=f"at least {least} frames"):
            ours(*short)

    def test_the_shipped_model(self):
        check(*digits(), torch.randn(1, 200, 40))

    @torch.no_grad()
    def test_espnets_own_result_is_drawn_by_lot_and_ours_is_the_full_context(self):
        ours, theirs = pair("conformer", main_conf=CAUSAL)
        theirs.short_chunk_threshold = 0.75
        x, count = torch.randn(1, 61, FEATURES), torch.tensor([61])
        draws = [theirs(x, count)[0] for _ in range(50)]
        distances = [largest(draw - ours(x, count)[0]) for draw in draws]
        assert max(distances) > 0.01
        assert min(distances) < 1e-5


class TestBatch:
    @pytest.mark.parametrize("body", [*BODIES.values(), STRIDED], ids=[*BODIES, "strided"])
    @pytest.mark.parametrize("conf", [{}, {"vgg_like": True, "conv_size": 4}], ids=str)
    @torch.no_grad()
    def test_each_utterance_is_as_if_alone(self, body, conf):
        ours, _ = pair(body, conf)
        x, lengths = 100.0 * torch.randn(3, 80, FEATURES), torch.tensor([80, 63, 50])
        out, counts = ours(x, lengths)
        for row, length in enumerate(lengths.tolist()):
            alone, count = ours(x[[row], :length], lengths[[row]])
            assert counts[row] == count == alone.size(1)
            torch.testing.assert_close(out[[row], :count], alone, atol=1e-5, rtol=1e-5)


class TestBuild:
    def test_it_reads_the_number_of_features(self):
        conf = {"body_conf": BODIES["conformer"]}
        assert build_encoder({"encoder_conf": conf}).input_size == 80
        frontend = {"frontend_conf": {"n_mels": 24}, "encoder_conf": conf}
        assert build_encoder(frontend).input_size == 24
        assert build_encoder({**frontend, "input_size": 30}).input_size == 30

    def test_the_config_is_left_alone(self):
        conf = {"body_conf": copy.deepcopy(BODIES["conv1d"]), "input_conf": {}, "main_conf": {}}
        before = copy.deepcopy(conf)
        build_encoder({"encoder_conf": conf})
        assert conf == before

    def test_what_acts_in_training_alone_is_accepted(self):
        main = {"blockdrop_rate": 0.1, "short_chunk_size": 10, "num_left_chunks": 3}
        Encoder(FEATURES, [{"block_type": "conformer", "dropout_rate": 0.3, **SMALL}], {}, main)

    @pytest.mark.parametrize("conf", [None, {}, {"body_conf": []}, {"body": []}])
    def test_an_encoder_conf_without_blocks(self, conf):
        with pytest.raises(ValueError, match="encoder_conf must be body_conf with blocks"):
            build_encoder({"encoder_conf": conf})


def block(**options):
    return [{"block_type": "ebranchformer", **SMALL, **options}]


def conv1d(**options):
    return [{"block_type": "conv1d", "output_size": 16, "kernel_size": 3, **options}]


class TestRefusals:
    @pytest.mark.parametrize(
        ("body", "message"),
        [
            (block(block_type="rnn"), r"body_conf\[0\]: block_type must be one of .* got 'rnn'"),
            (block(linear_size=None), r"body_conf\[0\]: linear_size is missing"),
            (block(hidden_size=None), r"body_conf\[0\]: hidden_size is missing"),
            (block(conv_mod_kernel_size=None), "conv_mod_kernel_size is missing"),
            (block(heads=3), "hidden_size must be a multiple of heads = 3, got 16"),
            (block(heads=0), "heads must be at least 1, got 0"),
            (block(linear_size=25), "linear_size must be even, got 25"),
            (block(conv_mod_kernel_size=4), "conv_mod_kernel_size must be odd .* got 4"),
            (block(depth_conv_kernel_size=4), "depth_conv_kernel_size must be odd .* got 4"),
            (block(num_blocks=0), "num_blocks must be at least 1, got 0"),
            (block() + conv1d(output_size=None), r"body_conf\[1\]: output_size is missing"),
            (block() + conv1d(kernel_size=None), r"body_conf\[1\]: kernel_size is missing"),
            (block() + conv1d(groups=3), "groups must divide"),
            (block() + block(hidden_size=8), r"body_conf\[1\]: hidden_size must be 16, .* got 8"),
            ([], "body_conf must have at least one block"),
        ],
    )
    def test_of_a_body(self, body, message):
        with pytest.raises(ValueError, match=message):
            Encoder(FEATURES, body)

    @pytest.mark.parametrize(
        ("conf", "message"),
        [
            ({"subsampling_factor": 3}, "must be one of 2, 4, 6 with vgg_like False, got 3"),
            (
                {"subsampling_factor": 2, "vgg_like": True},
                "must be one of 4, 6 with vgg_like True, got 2",
            ),
            ({"conv_size": (4, 5, 6), "vgg_like": True}, "conv_size must be one number or two"),
            ({"conv_size": 0}, "conv_size must be at least 1, got 0"),
        ],
    )
    def test_of_an_input_block(self, conf, message):
        with pytest.raises(ValueError, match=message):
            Encoder(FEATURES, block(), conf)

    @pytest.mark.parametrize(
        ("main", "message"),
        [
            ({"norm_type": "batch_norm"}, "normalization_type must be one of .* got 'batch_norm'"),
            ({"pos_wise_act_type": "gelu"}, "activation_type must be one of .* got 'gelu'"),
            ({"left_chunk_size": 4}, "activation option 'left_chunk_size' is unknown"),
        ],
    )
    @pytest.mark.parametrize("kind", ["conformer", "branchformer", "ebranchformer", "conv1d"])
    def test_of_main_options(self, main, message, kind):
        body = conv1d() if kind == "conv1d" else block(block_type=kind)
        with pytest.raises(ValueError, match=message):
            Encoder(FEATURES, body, {}, main)

    @pytest.mark.parametrize(
        ("body", "input_conf", "main", "message"),
        [
            (block(heads="4"), {}, {}, "heads must be a whole number, got '4'"),
            (block(norm_eps="1e-5"), {}, {}, "eps must be a number, got '1e-5'"),
            (block(), {"vgg_like": 1}, {}, "vgg_like must be true or false, got 1"),
            (block(), {}, {"simplified_att_score": "no"}, "must be true or false, got 'no'"),
        ],
    )
    def test_of_a_wrong_type(self, body, input_conf, main, message):
        with pytest.raises(TypeError, match=message):
            Encoder(FEATURES, body, input_conf, main)

    def test_of_dilation_where_espnet_ignores_it(self):
        with pytest.raises(ValueError, match="dilation must be 1 with dynamic_chunk_training"):
            Encoder(FEATURES, conv1d(dilation=2), {}, CAUSAL)

    def test_of_features_that_espnets_linear_layer_does_not_fit(self):
        conf = {"vgg_like": True, "subsampling_factor": 6}
        with pytest.raises(ValueError, match="input_size 23 does not fit"):
            Encoder(23, block(), conf)

    @pytest.mark.parametrize("conf", INPUTS, ids=str)
    def test_of_too_few_features_or_frames(self, conf):
        with pytest.raises(ValueError, match="input_size must be at least"):
            Encoder(4, block(), conf)
        encoder = Encoder(FEATURES, block(), conf).eval()
        least = encoder.least_frames
        assert encoder(torch.randn(1, least, FEATURES), torch.tensor([least]))[0].size(1) == 1
        with pytest.raises(ValueError, match=f"at least {least} frames, got {least - 1}"):
            encoder(torch.randn(1, least - 1, FEATURES), torch.tensor([least - 1]))
