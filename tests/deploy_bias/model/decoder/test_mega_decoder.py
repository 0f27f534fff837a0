"""The decoder over whole label sequences, against ESPnet's `forward`."""

import inspect

import pytest
import torch
from espnet2.asr_transducer.decoder.mega_decoder import MEGADecoder as EspnetDecoder

import deploy_bias
from deploy_bias import MEGADecoder
from tests.espnet import models
from tests.espnet.models import SMALL, VOCAB, random_labels

OPTIONS = [
    {},
    {"rel_pos_bias_type": "rotary"},
    {"chunk_size": 4},
    {"chunk_size": 4, "rel_pos_bias_type": "rotary"},
    {"chunk_size": 1},
    {"truncation_length": 3},
    {"num_heads": 1, "num_blocks": 1},
    {"embed_pad": 3},
    {"embed_pad": 3, "chunk_size": 3},
    *(
        {"normalization_type": name, "normalization_args": arguments}
        for name, arguments in [
            ("layer_norm", {"eps": 0.01}),
            ("basic_norm", {}),
            ("rms_norm", {"partial": 0.3}),
            ("scale_norm", {"eps": 1e-3}),
        ]
    ),
    *(
        {"activation_type": name, "activation_args": arguments}
        for name, arguments in [
            ("ftswish", {"ftswish_threshold": -0.1}),
            ("hardtanh", {"hardtanh_max_val": 2}),
            ("leaky_relu", {"leakyrelu_neg_slope": 0.1}),
            ("mish", {}),
            ("relu", {}),
            ("selu", {}),
            ("smish", {"smish_alpha": 1.5}),
            ("swish", {"swish_beta": 1.5}),
            ("tanh", {}),
            ("identity", {}),
        ]
    ),
]


def padded(batch, length, pad):
    """Labels of different lengths, padding behind; and padding in the first place."""
    labels = random_labels(batch, length)
    labels[labels == pad] = pad + 1
    for row in range(batch):
        labels[row, length - row * length // batch :] = pad
    labels[:, 0] = pad
    return labels


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("length", [1, 4, 10, 16])
def test_forward_equals_espnet(options, length):
    ours, theirs = models.pair(**options)
    labels = padded(3, length, options.get("embed_pad", 0))
    with torch.no_grad():
        torch.testing.assert_close(ours(labels), theirs(labels), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "rate",
    [
        "dropout_rate",
        "embed_dropout_rate",
        "att_dropout_rate",
        "ema_dropout_rate",
        "ffn_dropout_rate",
    ],
)
@pytest.mark.parametrize("chunk_size", [-1, 4])
def test_training_with_dropout_equals_espnet(rate, chunk_size):
    ours, theirs = models.pair(chunk_size=chunk_size, **{rate: 0.4})
    labels = padded(3, 10, 0)
    outputs = []
    for decoder in (ours, theirs):
        torch.manual_seed(7)
        outputs.append(decoder.train()(labels))
    torch.testing.assert_close(*outputs, atol=1e-5, rtol=1e-5)
    assert (outputs[0] - ours.eval()(labels)).abs().max() > 0.01


def test_the_shipped_model_equals_espnet():
    ours, theirs = models.digits()
    labels = padded(4, 60, 0)
    with torch.no_grad():
        torch.testing.assert_close(ours(labels), theirs(labels), atol=1e-5, rtol=1e-5)


def test_arguments_and_defaults_are_those_of_espnet():
    def arguments(decoder):
        given = inspect.signature(decoder).parameters.values()
        # {} and None are the same default for a mapping.
        return [(argument.name, argument.default or None) for argument in given]

    assert arguments(MEGADecoder) == arguments(EspnetDecoder)


def test_padding_behind_changes_nothing_before_it():
    ours, _ = models.pair()
    labels = padded(1, 8, 0)
    longer = torch.nn.functional.pad(labels, (0, 5))
    torch.testing.assert_close(ours(longer)[:, :8], ours(labels), atol=1e-6, rtol=1e-5)


def test_gradients_equal_espnet():
    ours, theirs = models.pair(rel_pos_bias_type="rotary")
    labels = padded(3, 10, 0)
    for decoder in (ours, theirs):
        decoder(labels).square().sum().backward()
    expected = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(
            parameter.grad, expected[name].grad, atol=1e-3, rtol=1e-3, msg=name
        )


@pytest.mark.parametrize("chunk_size", [-1, 4])
def test_forward_exports(chunk_size):
    ours, _ = models.pair(rel_pos_bias_type="rotary", chunk_size=chunk_size)
    labels = padded(3, 10, 0)
    program = torch.export.export(ours, (labels,))
    assert not [node for node in program.graph.nodes if "fft" in str(node.target)]
    torch.testing.assert_close(program.module()(labels), ours(labels), atol=1e-5, rtol=1e-5)


def test_forward_exports_for_any_length():
    ours, _ = models.pair()
    length = torch.export.Dim("length", min=2, max=16)
    labels = padded(3, 10, 0)
    program = torch.export.export(ours, (labels,), dynamic_shapes=({1: length},))
    for other in (2, 7, 16):
        labels = padded(3, other, 0)
        torch.testing.assert_close(program.module()(labels), ours(labels), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_blocks": 0}, "num_blocks must be at least 1, got 0"),
        ({"embed_pad": -1}, "embed_pad must be 0 to 10, got -1"),
        ({"embed_pad": VOCAB}, "embed_pad must be 0 to 10, got 11"),
        ({"normalization_type": "batch_norm"}, "got 'batch_norm'"),
        ({"normalization_args": {"scale": 1.0}}, "'scale' is unknown"),
        ({"activation_type": "gelu"}, "got 'gelu'"),
        ({"activation_args": {"beta": 1.0}}, "'beta' is unknown"),
        ({"rel_pos_bias_type": "alibi"}, "got 'alibi'"),
        ({"truncation_length": 0}, "truncation_length must be at least 1, got 0"),
    ],
)
def test_a_wrong_option_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        MEGADecoder(VOCAB, **(SMALL | options))


def test_labels_must_have_two_axes():
    with pytest.raises(ValueError, match=r"\(batch, length\), got shape \(5,\)"):
        MEGADecoder(VOCAB, **SMALL)(torch.zeros(5, dtype=torch.int64))


def test_more_labels_than_positions_are_refused():
    with pytest.raises(ValueError, match="got 17"):
        MEGADecoder(VOCAB, **SMALL)(torch.zeros(1, 17, dtype=torch.int64))


def test_every_public_name_is_there():
    for name in deploy_bias.__all__:
        assert getattr(deploy_bias, name)
    with pytest.raises(AttributeError, match="no attribute 'Decoder'"):
        _ = deploy_bias.Decoder
