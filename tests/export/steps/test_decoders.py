"""The step graphs of the rnn, stateless and rwkv decoders: ESPnet's decoding, label by label."""

import pytest
import torch

from deploy_bias.export.steps.rnn_decoder import RNNDecoderStep
from deploy_bias.export.steps.rwkv_decoder import RWKVDecoderStep
from deploy_bias.export.steps.stateless_decoder import StatelessDecoderStep
from tests.espnet.decoders import CASES, KINDS, espnet_rollout, pair
from tests.espnet.models import largest, perturb, random_labels
from tests.export.steps.runtimes import (
    exported,
    lower,
    on_executorch,
    on_onnx_runtime,
    on_torchscript,
    operators,
)

STEPS = {"rnn": RNNDecoderStep, "stateless": StatelessDecoderStep, "rwkv": RWKVDecoderStep}
LABELS = 200
RESCALED = {"rescale_every": 2, "num_blocks": 5}
BIASLESS = ("att.proj_output.bias", "ffn.proj_value.bias")
EVERY_CASE = pytest.mark.parametrize(("kind", "options"), CASES, ids=str)


@torch.no_grad()
def rollout(step, labels, *, run=None, start=None):
    """Decode labels (B, T) as a host does: the next state is what the step gave."""
    _, *state = step.example_inputs() if start is None else step.example_inputs(start)
    outputs = []
    for label in labels.split(1, dim=1):
        given = (run or step)(label, *state)
        out, *state = [given] if isinstance(given, torch.Tensor) else given
        # A runtime may write the next outputs into the same memory.
        outputs.append(out.clone())
        state = [tensor.clone() for tensor in state]
    return torch.stack(outputs, 1)


def random_inputs(step):
    """Inputs with each element random: also those that a host would have as zeros."""
    torch.manual_seed(2)
    label, *states = step.example_inputs()
    # Below 1 and apart: a denominator is a sum of weights, each above 0.
    return torch.randint_like(label, 11), *[0.1 + torch.rand(state.shape) for state in states]


@EVERY_CASE
def test_equals_espnet(kind, options):
    ours, theirs = pair(kind, **options)
    labels = random_labels(3, LABELS)
    torch.testing.assert_close(
        rollout(STEPS[kind](ours, 3), labels),
        espnet_rollout(theirs, labels),
        atol=1e-5,
        rtol=1e-5,
    )


@EVERY_CASE
def test_equals_forward_in_float64(kind, options):
    ours, _ = pair(kind, **options)
    labels = random_labels(1, LABELS)
    out = rollout(STEPS[kind](ours.double()), labels)
    assert out.dtype == torch.float64
    assert largest(out - ours(labels)) < 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_equals_each_hypothesis_alone(kind):
    ours, _ = pair(kind)
    labels = random_labels(3, 20)
    alone = torch.cat([rollout(STEPS[kind](ours), row) for row in labels.split(1)])
    torch.testing.assert_close(rollout(STEPS[kind](ours, 3), labels), alone, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_a_snapshot(kind):
    ours, _ = pair(kind)
    before = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    step, labels = STEPS[kind](ours.train()), random_labels(1, 9)
    assert not step.training
    assert not any(weight.requires_grad for weight in step.parameters())
    for name, tensor in ours.state_dict().items():
        assert torch.equal(tensor, before[name])
    out = rollout(step, labels)
    perturb(ours)
    assert torch.equal(rollout(step, labels), out)
    assert not torch.equal(rollout(STEPS[kind](ours), labels), out)


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_batch_is_refused(kind):
    with pytest.raises(ValueError, match="batch must be at least 1, got 0"):
        STEPS[kind](pair(kind)[0], batch=0)


class TestTheStartOfRWKV:
    def test_espnets_by_name(self):
        ours, theirs = pair("rwkv")
        labels = random_labels(1, LABELS)
        expected = espnet_rollout(theirs, labels, start="espnet")
        out = rollout(RWKVDecoderStep(ours), labels, start="espnet")
        torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize("bias", [-102.0, -104.0])
    def test_keys_far_below_zero_are_finite_from_the_clean_start_alone(self, bias):
        ours, theirs = pair("rwkv")
        for decoder in (ours, theirs):
            for block in decoder.rwkv_blocks:
                block.att.proj_key.bias.data.fill_(bias)
        step, labels = RWKVDecoderStep(ours), random_labels(1, 50)
        clean, espnet = rollout(step, labels), rollout(step, labels, start="espnet")
        assert largest(clean - ours(labels)) < 1e-4
        expected = espnet_rollout(theirs, labels, start="espnet")
        if bias == -104.0:
            assert espnet.isnan().all()
            assert expected.isnan().all()
        else:
            assert largest(espnet - clean) > 1e-3


class TestRescaling:
    @pytest.mark.parametrize("every", [1, 2, 3, 7])
    def test_as_speech2text_does(self, every):
        ours, theirs = pair("rwkv", rescale_every=every, num_blocks=5)
        labels = random_labels(1, LABELS)
        out = rollout(RWKVDecoderStep(ours), labels)
        torch.testing.assert_close(out, espnet_rollout(theirs, labels), atol=1e-5, rtol=1e-5)

    def test_clean_is_as_in_training(self):
        ours, _ = pair("rwkv", **RESCALED)
        labels = random_labels(1, LABELS)
        clean = rollout(RWKVDecoderStep(ours, rescale="clean"), labels)
        torch.testing.assert_close(clean, ours(labels), atol=1e-5, rtol=1e-5)
        assert largest(clean - rollout(RWKVDecoderStep(ours), labels)) > 0.01

    def test_the_two_are_one_where_no_bias_is_left_undivided(self):
        ours, _ = pair("rwkv", **RESCALED)
        for name, parameter in ours.named_parameters():
            if name.endswith(BIASLESS):
                parameter.data.zero_()
        labels = random_labels(1, LABELS)
        clean = rollout(RWKVDecoderStep(ours, rescale="clean"), labels)
        torch.testing.assert_close(
            rollout(RWKVDecoderStep(ours), labels), clean, atol=1e-5, rtol=1e-5
        )

    def test_another_name_is_refused(self):
        with pytest.raises(ValueError, match="rescale must be espnet or clean, got 'half'"):
            RWKVDecoderStep(pair("rwkv")[0], rescale="half")


EXPORTED = [
    ("rnn", {"num_layers": 2}, 3),
    ("rnn", {"rnn_type": "gru"}, 1),
    ("stateless", {}, 3),
    ("rwkv", {"num_blocks": 2, "rescale_every": 1}, 3),
]


@pytest.fixture(scope="module", params=EXPORTED, ids=str)
def case(request):
    """A step, its labels, what ESPnet decodes from them."""
    kind, options, batch = request.param
    ours, theirs = pair(kind, **options)
    labels = random_labels(batch, LABELS)
    return STEPS[kind](ours, batch), labels, espnet_rollout(theirs, labels)


class TestExports:
    """One rung after another: exported, on ONNX Runtime, TorchScript, ExecuTorch's XNNPACK."""

    def check(self, case, run):
        step, labels, expected = case
        out = rollout(step, labels, run=run)
        torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)
        inputs = random_inputs(step)
        wanted, got = step(*inputs), run(*inputs)
        wanted = [wanted] if isinstance(wanted, torch.Tensor) else wanted
        got = [got] if isinstance(got, torch.Tensor) else got
        for one, other in zip(got, wanted, strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)

    def test_torch_export(self, case):
        self.check(case, exported(case[0]))

    def test_torchscript(self, case):
        self.check(case, on_torchscript(case[0]))

    def test_onnx_runtime(self, case, tmp_path):
        self.check(case, on_onnx_runtime(case[0], tmp_path))

    # That of rwkv is dear, and in a bundle of tests/export/graphs/test_decoders.py.
    @pytest.mark.parametrize("case", EXPORTED[:3], indirect=True, ids=str)
    def test_executorch_is_one_delegate_beside_the_embedding(self, case, tmp_path):
        lowered = lower(case[0])
        assert operators(lowered) == {"executorch_call_delegate": 1, "aten::embedding": 1}
        self.check(case, on_executorch(lowered, tmp_path))
