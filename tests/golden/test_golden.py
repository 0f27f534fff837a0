"""What ESPnet computed once: ours must match it, and the live oracle must still give it."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from deploy_bias import RelativePositionBias, RotaryRelativePositionBias
from deploy_bias.export.graphs.bias_cases import recorded_scores
from tests.golden import record

HERE = Path(__file__).parent


@pytest.mark.parametrize(
    ("name", "module", "tolerance"),
    [
        ("simple", RelativePositionBias(48), 0.0),
        ("rotary", RotaryRelativePositionBias(32, 48), 2e-6),
    ],
)
def test_ours_matches_the_golden_vectors(name, module, tolerance):
    golden = load_file(HERE / f"{name}.safetensors")
    with torch.no_grad():
        for leaf, parameter in module.named_parameters():
            parameter.copy_(golden[f"parameter/{leaf}"])
        for length in (1, 2, 17, 48):
            torch.testing.assert_close(
                module(length), golden[f"forward/{length}"], rtol=0, atol=tolerance
            )


def test_the_live_oracle_still_gives_the_golden_vectors():
    for name, tensors in record.record_biases().items():
        golden = load_file(HERE / f"{name}.safetensors")
        assert golden.keys() == tensors.keys()
        for key, tensor in tensors.items():
            torch.testing.assert_close(tensor, golden[key], rtol=0, atol=1e-6)


def test_the_recorded_scores_are_those_of_the_shipped_model():
    torch.testing.assert_close(recorded_scores(), record.record_scores(), rtol=0, atol=1e-6)
