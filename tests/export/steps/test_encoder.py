"""The encoder chunk by chunk, against ESPnet's streaming."""

import copy
import itertools

import pytest
import torch

from deploy_bias.export.steps.encoder import EncoderStep
from tests.espnet.encoders import (
    BODIES,
    CAUSAL,
    INPUTS,
    assert_as_near,
    cases,
    digits,
    espnet_stream,
    pair,
    perturb,
    random_chunks,
    random_conf,
    stream,
)
from tests.espnet.models import largest

FRAMES = 54
COUNTS = (42, 50, 50, 47, 50, 49, 48, FRAMES, 50, 29)
"""A shorter first chunk, a longest one, a short last one."""
STREAMABLE = [
    (body, conf, main)
    for body, conf, main in cases(BODIES)
    if body != "conv1d" or main.get("dynamic_chunk_training")
]


def check(ours, theirs, left_context, counts=COUNTS, feature_frames=FRAMES):
    step = EncoderStep(ours, feature_frames, left_context)
    chunks = random_chunks(counts, ours.input_size)
    out = stream(step, chunks)
    expected = espnet_stream(theirs, chunks, left_context)
    wide = [chunk.double() for chunk in chunks]
    exact = espnet_stream(copy.deepcopy(theirs).double(), wide, left_context)
    assert_as_near(out, expected, exact)


class TestEqualsEspnetFrameForFrame:
    @pytest.mark.parametrize("case", STREAMABLE, ids=str)
    def test_each_option(self, case):
        check(*pair(*case), left_context=7)

    @pytest.mark.parametrize("seed", range(20))
    def test_random_models(self, seed):
        check(*pair(*random_conf(seed).values(), seed=seed), left_context=1 + seed)

    @pytest.mark.parametrize("body", BODIES)
    @pytest.mark.parametrize("left_context", [0, 1, 32])
    def test_each_left_context(self, body, left_context):
        check(*pair(body, main_conf=CAUSAL), left_context)

    @pytest.mark.parametrize("conf", INPUTS, ids=str)
    @pytest.mark.parametrize("main", [{}, CAUSAL], ids=["not causal", "causal"])
    def test_every_remainder_of_the_subsampling(self, conf, main):
        # What pads the last of these frames must not be seen, by VGG neither.
        check(*pair("conformer", conf, main), 5, counts=range(29, FRAMES + 1))

    def test_in_float64(self):
        ours, theirs = pair("ebranchformer", main_conf=CAUSAL)
        step = EncoderStep(ours.double(), FRAMES, 7)
        chunks = [chunk.double() for chunk in random_chunks(COUNTS)]
        expected = espnet_stream(theirs.double(), chunks, 7)
        torch.testing.assert_close(stream(step, chunks), expected, atol=1e-12, rtol=1e-10)

    def test_the_shipped_model(self):
        check(*digits(), 32, (157, 169, 171, 169, 60), 175)

    def test_the_error_does_not_grow(self):
        ours, theirs = digits()
        chunks = random_chunks([60] * 60, 40)
        out = stream(EncoderStep(ours, 60), chunks)
        exact = espnet_stream(theirs.double(), [chunk.double() for chunk in chunks], 32)
        error = (out - exact).abs().amax(dim=(0, 2))
        assert error[-100:].max() <= 2 * error[:100].max()


class TestState:
    def test_each_valid_row_counts(self):
        step = EncoderStep(pair("ebranchformer", main_conf=CAUSAL)[0], FRAMES, 4)
        features, frames, valid, windows = step.example_inputs()
        features.normal_()
        windows = [torch.randn(window.shape) for window in windows]
        outputs = [step(features, frames, valid + count, windows)[0] for count in range(5)]
        for one, other in itertools.pairwise(outputs):
            assert largest(one - other) > 1e-4

    def test_rows_that_are_not_valid_are_never_seen(self):
        step = EncoderStep(pair("conformer", main_conf=CAUSAL)[0], FRAMES, 4)
        features, frames, valid, windows = step.example_inputs()
        features.normal_()
        keys = [shape.name.endswith(("key", "value")) for shape in step.window_shapes]
        rubbish = [
            torch.cat([1e4 * torch.randn(1, 2, w.size(2)), w[:, 2:]], 1) if key else w
            for w, key in zip(windows, keys, strict=True)
        ]
        out, rows = step(features, frames, valid + 2, windows)
        again, rows_again = step(features, frames, valid + 2, rubbish)
        assert torch.equal(out, again)
        assert all(torch.equal(a, b) for a, b in zip(rows, rows_again, strict=True))

    def test_what_is_after_the_chunk_is_never_seen(self):
        for main in ({}, CAUSAL):
            step = EncoderStep(pair("ebranchformer", INPUTS[3], main)[0], FRAMES, 4)
            chunks = random_chunks(COUNTS)
            zeros, rubbish = stream(step, chunks, rubbish=0.0), stream(step, chunks, rubbish=1e30)
            assert torch.equal(zeros, rubbish)

    def test_windows_are_named_and_sized(self):
        step = EncoderStep(pair("conv1d", main_conf=CAUSAL)[0], FRAMES, 7)
        assert [tuple(shape) for shape in step.window_shapes] == [
            ("block_0.conv", 2, 64),
            ("block_1.key", 7, 16),
            ("block_1.value", 7, 16),
            ("block_1.conv", 4, 12),
            ("block_1.merge", 4, 32),
            ("block_2.conv", 1, 16),
            ("block_3.conv", 3, 10),
        ]
        out, rows = step(*step.example_inputs())
        assert out.shape == (1, step.frames, 12)
        assert [tuple(r.shape) for r in rows] == [
            (1, step.frames, shape.channels) for shape in step.window_shapes
        ]

    def test_without_left_context_and_causality_there_is_no_state(self):
        assert EncoderStep(pair("ebranchformer")[0], FRAMES, 0).window_shapes == []


class TestSnapshot:
    def test_later_changes_of_the_encoder_do_not_reach_it(self):
        ours, _ = pair("ebranchformer", main_conf=CAUSAL)
        step = EncoderStep(ours.train(), FRAMES)
        chunks = random_chunks(COUNTS)
        before = stream(step, chunks)
        perturb(ours)
        assert torch.equal(stream(step, chunks), before)
        assert not torch.equal(stream(EncoderStep(ours, FRAMES), chunks), before)

    def test_it_takes_no_gradient_and_leaves_the_encoder_its_own(self):
        ours, _ = pair("conformer", main_conf=CAUSAL)
        assert not any(weight.requires_grad for weight in EncoderStep(ours, FRAMES).parameters())
        assert all(weight.requires_grad for weight in ours.parameters())


class TestRefusals:
    def test_too_few_feature_frames(self):
        ours, _ = pair("conformer")
        assert EncoderStep(ours, 15).frames == 1
        with pytest.raises(ValueError, match="feature_frames must be at least 15, got 14"):
            EncoderStep(ours, 14)

    def test_a_negative_left_context(self):
        with pytest.raises(ValueError, match="left_context must be 0 or more, got -1"):
            EncoderStep(pair("conformer")[0], FRAMES, -1)

    def test_a_conv1d_that_is_not_causal(self):
        with pytest.raises(ValueError, match="block 0 is a conv1d without dynamic_chunk_training"):
            EncoderStep(pair("conv1d")[0], FRAMES)
