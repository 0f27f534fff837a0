"""A whole utterance by blocks of queries, against the eager encoder that sees all at once."""

import pytest
import torch

from deploy_bias.export.steps.offline_encoder import BLOCK, OfflineEncoderStep
from deploy_bias.model.encoder import Encoder
from tests.espnet.models import perturb

MELS = 20
XFORMER = {
    "hidden_size": 16,
    "linear_size": 24,
    "heads": 2,
    "conv_mod_kernel_size": 5,
}
CONFORMER, EBRANCHFORMER, BRANCHFORMER = (
    {"block_type": kind, **XFORMER} for kind in ("conformer", "ebranchformer", "branchformer")
)
CONV1D = {"block_type": "conv1d", "output_size": 16, "kernel_size": 3}
VGG = {"vgg_like": True, "conv_size": [4, 6]}
CASES = {
    "conformer": ([CONFORMER] * 2, {}, {}),
    "branchformer": ([BRANCHFORMER] * 2, {"subsampling_factor": 2}, {}),
    "ebranchformer, 31 frames of a convolution": (
        [EBRANCHFORMER | {"conv_mod_kernel_size": 31}] * 2,
        {"subsampling_factor": 6},
        {},
    ),
    "legacy positions": ([CONFORMER] * 2, {}, {"rel_pos_type": "legacy"}),
    "simplified scores": ([CONFORMER] * 2, {}, {"simplified_att_score": True}),
    "causal, from a conv1d on": ([CONV1D, CONFORMER], {}, {"dynamic_chunk_training": True}),
    "conv1d that thins twice": (
        [CONFORMER, CONV1D | {"stride": 2}, CONFORMER, CONV1D | {"stride": 3}, CONFORMER],
        {},
        {},
    ),
    "conv1d that thins by 1": ([CONFORMER, CONV1D | {"dilation": 2}, CONFORMER], {}, {}),
    "vgg by 4": ([CONFORMER], VGG, {}),
    "vgg by 6": ([CONFORMER], VGG | {"subsampling_factor": 6}, {}),
}


@pytest.mark.parametrize("case", CASES)
def test_frames_are_those_of_the_utterance_alone(case):
    body, input_conf, main_conf = CASES[case]
    torch.manual_seed(1)
    encoder = perturb(Encoder(MELS, body, input_conf, main_conf)).eval()
    step = OfflineEncoderStep(encoder)
    grows = step.feature_frames
    for frames in (
        encoder.least_frames,
        encoder.least_frames + 1,
        step.least_frames,
        step.least_frames + 1,
        step.least_frames + 3 * grows + grows // 3,
    ):
        size = step.least_frames + -(-(frames - step.least_frames) // grows) * grows
        features = torch.randn(1, max(size, step.least_frames), MELS)
        count = torch.tensor([frames])
        with torch.no_grad():
            expected, _ = encoder(features[:, :frames], count)
            found = step(features, count)
        assert found.size(1) == step.encoder_frames(features.size(1))
        assert found.isfinite().all()
        assert (found[:, : expected.size(1)] - expected).abs().max() < 2e-5


def test_a_block_is_a_whole_number_of_frames_behind_every_convolution():
    body = [CONFORMER, CONV1D | {"stride": 3}, CONFORMER]
    step = OfflineEncoderStep(Encoder(MELS, body))
    assert (step.block, step.frames) == (33, 11)
    assert OfflineEncoderStep(Encoder(MELS, [CONFORMER])).block == BLOCK
