"""The step graph: ESPnet's decoding, label by label, in eager torch and on the runtimes."""

import itertools

import pytest
import torch

from deploy_bias.export.steps.mega_decoder import MEGADecoderStep
from tests.deploy_bias.model.decoder.test_mega_decoder import OPTIONS
from tests.espnet import models
from tests.espnet.models import espnet_rollout, largest, random_labels, rollout
from tests.export.steps.runtimes import (
    exported,
    lower,
    on_executorch,
    on_onnx_runtime,
    on_torchscript,
    operators,
)

CONTEXT = 5
BIASES = pytest.mark.parametrize("bias", ["simple", "rotary"])
NOT_CHUNKED = [options for options in OPTIONS if "chunk_size" not in options]


class TestWhileTheContextFits:
    @pytest.mark.parametrize("options", NOT_CHUNKED, ids=str)
    def test_equals_espnets_inference(self, options):
        ours, theirs = models.pair(**options)
        # The row of zeros at the start takes one of the 16 positions.
        labels = random_labels(1, 15)
        step = MEGADecoderStep(ours, context=15)
        torch.testing.assert_close(
            rollout(step, labels, "espnet"), espnet_rollout(theirs, labels), atol=1e-5, rtol=1e-5
        )

    @BIASES
    def test_the_clean_start_equals_forward(self, bias):
        ours, theirs = models.pair(rel_pos_bias_type=bias)
        labels = random_labels(1, 16).clamp(min=1)  # forward masks padding, a step does not
        step = MEGADecoderStep(ours, context=15)
        with torch.no_grad():
            expected = theirs(labels)
        torch.testing.assert_close(rollout(step, labels, "clean"), expected, atol=1e-5, rtol=1e-5)

    def test_the_starts_differ(self):
        ours, _ = models.pair()
        step, labels = MEGADecoderStep(ours, context=15), random_labels(1, 15)
        assert largest(rollout(step, labels, "clean") - rollout(step, labels, "espnet")) > 0.01

    def test_the_shipped_model(self):
        ours, theirs = models.digits()
        labels = random_labels(1, 127, ours.vocab_size)
        step = MEGADecoderStep(ours, context=127)
        torch.testing.assert_close(
            rollout(step, labels, "espnet"), espnet_rollout(theirs, labels), atol=1e-5, rtol=1e-5
        )


class TestBeyondTheWindow:
    @BIASES
    @pytest.mark.parametrize("start", ["espnet", "clean"])
    def test_equals_full_context_restricted_to_the_window(self, bias, start):
        ours, theirs = models.pair(rel_pos_bias_type=bias)
        labels = random_labels(1, 4 * CONTEXT)
        out = rollout(MEGADecoderStep(ours, CONTEXT), labels, start)
        own = espnet_rollout(theirs, labels, start=start, context=CONTEXT)
        exact = espnet_rollout(theirs.double(), labels, start=start, context=CONTEXT)
        torch.testing.assert_close(out, own, atol=1e-5, rtol=1e-5)
        assert largest(out - exact) <= 4 * largest(own - exact)

    def test_in_float64_too(self):
        ours, theirs = models.pair(rel_pos_bias_type="rotary")
        labels = random_labels(1, 4 * CONTEXT)
        out = rollout(MEGADecoderStep(ours.double(), CONTEXT), labels, "espnet")
        exact = espnet_rollout(theirs.double(), labels, context=CONTEXT)
        # ESPnet's softmax is float32 even here, and so is its table of sin and cos.
        torch.testing.assert_close(out, exact, atol=1e-6, rtol=1e-6)

    def test_the_error_does_not_grow(self):
        ours, _ = models.digits()
        labels = random_labels(1, 1000, ours.vocab_size)
        out = rollout(MEGADecoderStep(ours, 32), labels, "espnet")
        exact = rollout(MEGADecoderStep(ours.double(), 32), labels, "espnet")
        error = (out - exact).abs().amax(dim=(0, 2))
        assert error[-100:].max() <= 2 * error[:100].max()
        assert error.max() < 1e-5

    def test_the_window_matters(self):
        ours, _ = models.pair()
        labels = random_labels(1, 4 * CONTEXT)
        narrow = rollout(MEGADecoderStep(ours, CONTEXT), labels, "clean")
        wide = rollout(MEGADecoderStep(ours, CONTEXT + 1), labels, "clean")
        torch.testing.assert_close(
            narrow[:, : CONTEXT + 1], wide[:, : CONTEXT + 1], atol=1e-6, rtol=1e-5
        )
        assert (narrow - wide).abs().amax(dim=(0, 2))[CONTEXT + 1 :].min() > 1e-4


class TestChunks:
    @BIASES
    @pytest.mark.parametrize("chunk_size", [2, 4])
    def test_the_espnet_start_equals_espnets_inference(self, bias, chunk_size):
        ours, theirs = models.pair(rel_pos_bias_type=bias, chunk_size=chunk_size)
        labels = random_labels(1, 15)
        step = MEGADecoderStep(ours, context=chunk_size - 1)
        out = rollout(step, labels, "espnet", chunk_size=chunk_size)
        torch.testing.assert_close(out, espnet_rollout(theirs, labels), atol=1e-5, rtol=1e-5)

    @BIASES
    @pytest.mark.parametrize("chunk_size", [2, 4])
    def test_the_clean_start_equals_forward(self, bias, chunk_size):
        ours, theirs = models.pair(rel_pos_bias_type=bias, chunk_size=chunk_size)
        labels = random_labels(1, 15).clamp(min=1)
        step = MEGADecoderStep(ours, context=chunk_size - 1)
        out = rollout(step, labels, "clean", chunk_size=chunk_size)
        with torch.no_grad():
            expected = theirs(labels)
        torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)


class TestHypotheses:
    def test_a_batch_equals_each_hypothesis_alone(self):
        ours, _ = models.pair()
        step = MEGADecoderStep(ours, CONTEXT, batch=3)
        alone = MEGADecoderStep(ours, CONTEXT)
        # Hypotheses of 0, 2 and all rows; what is not valid is rubbish.
        inputs = random_inputs(step)
        inputs[1].copy_(torch.tensor([0, 2, CONTEXT]))
        outputs = step(*inputs)
        for row in range(3):
            single = select(inputs, row)
            for window in single[3] + single[4]:
                window[:, : CONTEXT - inputs[1][row]] = 0.0
            expected = alone(*single)
            torch.testing.assert_close(outputs[0][[row]], expected[0], atol=1e-6, rtol=1e-5)
            for ours_, expected_ in zip(outputs[1:], expected[1:], strict=True):
                torch.testing.assert_close(ours_[:, [row]], expected_, atol=1e-6, rtol=1e-5)

    def test_each_valid_row_counts(self):
        ours, _ = models.pair()
        step = MEGADecoderStep(ours, CONTEXT)
        inputs = random_inputs(step)
        outputs = []
        for valid in range(CONTEXT + 1):
            inputs[1].fill_(valid)
            outputs.append(step(*inputs)[0])
        for one, other in itertools.pairwise(outputs):
            assert largest(one - other) > 1e-4


class TestSnapshot:
    def test_later_changes_of_the_decoder_do_not_reach_it(self):
        ours, _ = models.pair()
        step = MEGADecoderStep(ours.train(), CONTEXT)
        inputs = random_inputs(step)
        before = step(*inputs)[0]
        models.perturb(ours)
        assert torch.equal(step(*inputs)[0], before)
        assert not torch.equal(MEGADecoderStep(ours, CONTEXT)(*inputs)[0], before)

    def test_it_takes_no_gradient_and_leaves_the_decoder_its_own(self):
        ours, _ = models.pair()
        assert not any(
            weight.requires_grad for weight in MEGADecoderStep(ours, CONTEXT).parameters()
        )
        assert all(weight.requires_grad for weight in ours.parameters())


class TestRefusals:
    @pytest.mark.parametrize("context", [0, 16])
    def test_a_context_that_does_not_fit(self, context):
        with pytest.raises(ValueError, match=r"1 to max_positions - 1 = 15 .*, got"):
            MEGADecoderStep(models.pair()[0], context)

    @pytest.mark.parametrize("context", [2, 4, 15])
    def test_a_context_that_is_not_the_chunk(self, context):
        with pytest.raises(ValueError, match="must be chunk_size - 1 = 3 for this decoder, got"):
            MEGADecoderStep(models.pair(chunk_size=4)[0], context)

    def test_chunks_of_one_label(self):
        with pytest.raises(ValueError, match="chunk_size must be at least 2"):
            MEGADecoderStep(models.pair(chunk_size=1)[0], 1)

    def test_an_empty_batch(self):
        with pytest.raises(ValueError, match="batch must be at least 1, got 0"):
            MEGADecoderStep(models.pair()[0], CONTEXT, batch=0)


def make_random(batch):
    ours, theirs = models.pair(rel_pos_bias_type="rotary")
    return MEGADecoderStep(ours, CONTEXT, batch), theirs, random_labels(batch, 4 * CONTEXT)


def make_digits():
    ours, theirs = models.digits()
    return MEGADecoderStep(ours, 32), theirs, random_labels(1, 100, ours.vocab_size)


@pytest.fixture(
    scope="module",
    params=[lambda: make_random(1), lambda: make_random(3), make_digits],
    ids=["random", "batch of 3", "digits"],
)
def case(request):
    """A step, its labels, what ESPnet decodes from them within the window."""
    step, theirs, labels = request.param()
    expected = [espnet_rollout(theirs, row, context=step.context) for row in labels.split(1)]
    return step, labels, torch.cat(expected)


class TestExports:
    """One rung after another: exported, on ONNX Runtime, TorchScript, ExecuTorch's XNNPACK."""

    def check(self, case, run):
        step, labels, expected = case
        out = rollout(step, labels, "espnet", run=run)
        torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)
        inputs = random_inputs(step)
        for got, wanted in zip(run(*inputs), step(*inputs), strict=True):
            torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-5)

    def test_torch_export(self, case):
        self.check(case, exported(case[0]))

    def test_torchscript(self, case):
        self.check(case, on_torchscript(case[0]))

    def test_onnx_runtime(self, case, tmp_path):
        self.check(case, on_onnx_runtime(case[0], tmp_path))

    def test_executorch_xnnpack(self, case, tmp_path):
        self.check(case, on_executorch(lower(case[0]), tmp_path))


@pytest.mark.parametrize("activation", ["ftswish", "mish", "selu"])
def test_activations_that_xnnpack_lacks_run_beside_it(activation, tmp_path):
    step = MEGADecoderStep(models.pair(num_blocks=1, activation_type=activation)[0], CONTEXT)
    lowered = lower(step)
    outside = " ".join(operators(lowered))
    assert not [name for name in ("linear", "addmm", "mm", "layer_norm") if name in outside]
    inputs = random_inputs(step)
    for got, wanted in zip(on_executorch(lowered, tmp_path)(*inputs), step(*inputs), strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_blocks": 3},
        {"normalization_type": "basic_norm"},
        {"normalization_type": "rms_norm", "normalization_args": {"partial": 0.5}},
        {"normalization_type": "scale_norm"},
        {"rel_pos_bias_type": "rotary", "activation_type": "smish"},
        {"activation_type": "leaky_relu"},
        {"activation_type": "hardtanh"},
        {"activation_type": "tanh"},
    ],
    ids=str,
)
def test_one_delegate_takes_all_but_the_embedding_and_the_count_of_rows(options):
    step = MEGADecoderStep(models.pair(**{"num_blocks": 1} | options)[0], CONTEXT, batch=2)
    assert operators(lower(step)) == {
        "executorch_call_delegate": 1,
        "aten::embedding": 1,
        # valid to a mask: once a step, not once a block
        "aten::unsqueeze_copy": 1,
        "aten::gt.Tensor": 1,
        "dim_order_ops::_to_dim_order_copy": 1,
    }


def random_inputs(step, seed=2):
    """Inputs of a full context, each element random: also those a host would have as zeros."""
    torch.manual_seed(seed)
    label, valid, *rest = step.example_inputs()
    state, keys, values = rest
    return (
        torch.randint_like(label, models.VOCAB),
        torch.full_like(valid, step.context),
        torch.randn(state.shape),
        [torch.randn(window.shape) for window in keys],
        [torch.randn(window.shape) for window in values],
    )


def select(inputs, row):
    """Row `row` of a batch, as a batch of one."""
    label, valid, state, keys, values = inputs
    return (
        label[[row]],
        valid[[row]],
        state[:, [row]],
        [window[[row]] for window in keys],
        [window[[row]] for window in values],
    )
