"""The rnn, stateless and rwkv decoders over whole label sequences, against ESPnet's `forward`."""

import inspect

import pytest
import torch

from tests.espnet.decoders import CASES, KINDS, RWKV_OPTIONS, espnet_rollout, pair
from tests.espnet.models import VOCAB, largest, random_labels

EVERY_KIND = pytest.mark.parametrize("kind", KINDS)


@pytest.mark.parametrize(("kind", "options"), CASES, ids=str)
@torch.no_grad()
def test_forward_equals_espnet(kind, options):
    ours, theirs = pair(kind, **options)
    for length in (1, 2, 40):
        labels = random_labels(3, length)
        torch.testing.assert_close(ours(labels), theirs(labels), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("kind", "options"), CASES, ids=str)
@torch.no_grad()
def test_forward_equals_espnet_label_by_label(kind, options):
    ours, theirs = pair(kind, **options)
    labels = random_labels(2, 200)
    expected = espnet_rollout(theirs, labels)
    torch.testing.assert_close(ours(labels), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("kind", "options"), CASES, ids=str)
@torch.no_grad()
def test_float64_is_as_exact_as_it_says(kind, options):
    ours, theirs = pair(kind, **options)
    labels = random_labels(2, 200)
    single = ours(labels)
    double, expected = ours.double()(labels), espnet_rollout(theirs.double(), labels)
    assert double.dtype == torch.float64
    assert largest(double - expected) < 1e-12
    assert largest(single - double) < 1e-5


@pytest.mark.parametrize(("kind", "options"), CASES, ids=str)
def test_gradients_equal_espnet(kind, options):
    ours, theirs = pair(kind, **options)
    labels = random_labels(3, 20)
    for decoder in (ours.double(), theirs.double()):
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            decoder.train()(labels).square().sum().backward()
        finally:
            torch.set_default_dtype(before)
    expected = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(
            parameter.grad, expected[name].grad, atol=1e-9, rtol=1e-9, msg=name
        )


@pytest.mark.parametrize(
    ("kind", "rate"),
    [
        ("rnn", "dropout_rate"),
        ("rnn", "embed_dropout_rate"),
        ("stateless", "embed_dropout_rate"),
        ("rwkv", "embed_dropout_rate"),
        ("rwkv", "att_dropout_rate"),
        ("rwkv", "ffn_dropout_rate"),
    ],
)
def test_training_with_dropout_equals_espnet(kind, rate):
    ours, theirs = pair(kind, **{rate: 0.4})
    labels = random_labels(3, 10)
    outputs = []
    for decoder in (ours, theirs):
        torch.manual_seed(7)
        outputs.append(decoder.train()(labels))
    torch.testing.assert_close(*outputs, atol=1e-5, rtol=1e-5)
    assert largest(outputs[0] - ours.eval()(labels)) > 0.01


@EVERY_KIND
def test_arguments_and_defaults_are_those_of_espnet(kind):
    def arguments(decoder):
        given = inspect.signature(decoder).parameters.values()
        # {} and None are the same default for a mapping.
        return [(argument.name, argument.default or None) for argument in given]

    ours, theirs, _ = KINDS[kind]
    assert arguments(ours) == arguments(theirs)


@EVERY_KIND
def test_a_new_decoder_starts_where_espnets_starts(kind):
    ours_class, espnet_class, small = KINDS[kind]
    torch.manual_seed(0)
    theirs = espnet_class(VOCAB, **small).state_dict()
    torch.manual_seed(0)
    ours = ours_class(VOCAB, **small).state_dict()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], atol=1e-5, rtol=1e-5, msg=name)


class TestRWKV:
    @pytest.mark.parametrize("bias", [-104.0, -95.0, 90.0])
    @torch.no_grad()
    def test_keys_at_the_ends_of_the_exponential(self, bias):
        ours, theirs = pair("rwkv")
        for decoder in (ours, theirs):
            for block in decoder.rwkv_blocks:
                block.att.proj_key.bias.fill_(bias)
        labels = random_labels(1, 50)
        assert largest(ours(labels) - theirs(labels)) < 1e-4

    @pytest.mark.parametrize("options", RWKV_OPTIONS, ids=str)
    def test_half_precision_is_finite(self, options):
        ours, _ = pair("rwkv", **options)
        out = ours.bfloat16()(random_labels(1, 20))
        assert out.dtype == torch.bfloat16
        assert out.isfinite().all()

    def test_a_step_of_training_lowers_the_loss(self):
        ours, _ = pair("rwkv")
        ours.train()
        labels, target = random_labels(2, 12), torch.randn(2, 12, 16)
        optimizer = torch.optim.Adam(ours.parameters(), lr=1e-3)
        losses = []
        for _ in range(5):
            loss = (ours(labels) - target).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses == sorted(losses, reverse=True)

    def test_more_labels_than_the_context(self):
        ours, _ = pair("rwkv", context_size=8)
        with pytest.raises(ValueError, match="at most context_size = 8 labels fit, got 9"):
            ours(random_labels(1, 9))


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("rnn", {"rnn_type": "elman"}, "rnn_type must be one of lstm, gru, got 'elman'"),
        ("rnn", {"num_layers": 0}, "num_layers must be at least 1, got 0"),
        ("rnn", {"embed_pad": VOCAB}, "embed_pad must be 0 to 10, got 11"),
        ("stateless", {"embed_pad": -1}, "embed_pad must be 0 to 10, got -1"),
        ("rwkv", {"embed_pad": VOCAB}, "embed_pad must be 0 to 10, got 11"),
        ("rwkv", {"num_blocks": 1}, "num_blocks must be at least 2, got 1"),
        ("rwkv", {"attention_size": 1}, "attention_size must be at least 2, got 1"),
        ("rwkv", {"normalization_type": "batch_norm"}, "got 'batch_norm'"),
        ("rwkv", {"normalization_args": {"scale": 1.0}}, "'scale' is unknown"),
    ],
)
def test_a_wrong_option_is_named(kind, options, message):
    ours, _, small = KINDS[kind]
    with pytest.raises(ValueError, match=message):
        ours(VOCAB, **(small | options))


@EVERY_KIND
def test_labels_must_have_two_axes(kind):
    ours, _, small = KINDS[kind]
    with pytest.raises(ValueError, match=r"\(batch, length\), got shape \(5,\)"):
        ours(VOCAB, **small)(torch.zeros(5, dtype=torch.int64))
