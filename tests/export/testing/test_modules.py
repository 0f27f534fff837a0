"""Modules as people write them: each has a verdict, or an error that says the way out."""

import dataclasses
import threading
import warnings
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deploy_bias.errors import OptionError
from deploy_bias.testing import ParityError, assert_export_parity

SCRIPT = {"backends": ["torchscript"]}


class Layer(nn.Module):
    """A function, with the layers that it uses."""

    def __init__(self, function, **layers):
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, *inputs):
        return self.function(self, *inputs)


class Pair(NamedTuple):
    a: Tensor
    b: Tensor


@dataclasses.dataclass
class Result:
    y: Tensor


def plus_product(m, batch):
    y = m.linear(batch["x"]) * batch["mask"].unsqueeze(-1)
    return {"y": y, "count": batch["mask"].sum()}


def packed(m, x, lengths):
    rows = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    y, hidden = m.gru(rows)
    whole, _ = nn.utils.rnn.pad_packed_sequence(y, batch_first=True, total_length=x.shape[1])
    return whole, hidden


def zeros_first(m, x):
    hidden = torch.zeros(1, x.shape[0], 6)
    return m.lstm(x, (hidden, hidden))[0]


def autocast(m, x):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return m.linear(x)


def hooked():
    linear = nn.Linear(4, 3)
    linear.register_forward_hook(lambda module, inputs, output: output * 2)
    return linear


def tied():
    module = Layer(
        lambda m, i: m.out(torch.tanh(m.embed(i))),
        embed=nn.Embedding(9, 4),
        out=nn.Linear(4, 9, bias=False),
    )
    module.out.weight = module.embed.weight
    return module


def ids(*shape):
    return torch.randint(0, 9, shape)


X, ROWS = torch.randn(2, 4), torch.randn(2, 5, 8)
PAD = torch.tensor([[False] * 3 + [True] * 2, [False] * 5])
ATTENTION = {"a": nn.MultiheadAttention(8, 2, batch_first=True)}
TAKEN = {
    "the first state made in forward": (
        lambda: Layer(zeros_first, lstm=nn.LSTM(8, 6, batch_first=True)),
        (ROWS,),
    ),
    "a tensor that is no buffer": (lambda: Layer(lambda m, x: x @ m.b, b=torch.randn(4, 3)), (X,)),
    "floats of integers": (lambda: Layer(lambda m, i: i.float() / 3), (ids(2, 3),)),
    "softmax in float32": (
        lambda: Layer(lambda m, x: F.softmax(x, -1, dtype=torch.float32)),
        (X,),
    ),
    "a constant beside": (lambda: Layer(lambda m, x: (x + 1, torch.arange(5.0))), (X,)),
    "none among the outputs": (
        lambda: Layer(lambda m, x: m.a(x, x, x, need_weights=False), **ATTENTION),
        (ROWS,),
    ),
    "a padding mask": (
        lambda: Layer(lambda m, x, p: m.a(x, x, x, key_padding_mask=p)[0], **ATTENTION),
        (ROWS, PAD),
    ),
    "complex outputs": (lambda: Layer(lambda m, x: torch.fft.rfft(x)), (X,)),
    "complex inputs": (
        lambda: Layer(lambda m, z: z * 1j + z.abs()),
        (torch.complex(X, X.flip(0)),),
    ),
    "scripted": (lambda: torch.jit.script(nn.Linear(4, 3)), (X,)),
    "traced": (lambda: torch.jit.trace(nn.Linear(4, 3), X), (X,)),
    "exported": (lambda: torch.export.export(nn.Linear(4, 3), (X,)).module(), (X,)),
    "lazy": (lambda: nn.LazyLinear(4), (X,)),
    "lazy, with statistics": (
        lambda: nn.Sequential(nn.LazyConv1d(4, 3), nn.LazyBatchNorm1d()),
        (torch.randn(2, 3, 9),),
    ),
    "compiled": (lambda: torch.compile(nn.Linear(4, 3)), (X,)),
    "parametrised": (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)), (X,)),
    "parametrised, the old way": (lambda: nn.utils.weight_norm(nn.Linear(4, 3)), (X,)),
    "a dict of tensors": (
        lambda: Layer(plus_product, linear=nn.Linear(8, 3)),
        ({"x": ROWS, "mask": torch.tensor([[1, 1, 1, 0, 0], [1] * 5])},),
    ),
    "a named tuple": (lambda: Layer(lambda m, x: Pair(x + 1, x * 2)), (X,)),
    "nested": (lambda: Layer(lambda m, x: [x, {"y": (x * 2, [x * 3])}]), (X,)),
    "packed sequences": (
        lambda: Layer(packed, gru=nn.GRU(8, 5, batch_first=True)),
        (torch.randn(3, 5, 8), torch.tensor([5, 2, 3])),
    ),
    "a whole transformer": (
        lambda: nn.Transformer(8, 2, 1, 1, 16, batch_first=True),
        (ROWS, torch.randn(2, 3, 8)),
    ),
    "weights that are shared": (tied, (ids(2, 3),)),
    "a hook": (hooked, (X,)),
    "autocast": (lambda: Layer(autocast, linear=nn.Linear(4, 3)), (X,)),
    "in place within": (
        lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(inplace=True), nn.Linear(8, 2)),
        (X,),
    ),
    "numpy within": (
        lambda: Layer(lambda m, x: x + torch.from_numpy(np.arange(4, dtype=np.float32))),
        (X,),
    ),
    "an input as it is": (lambda: Layer(lambda m, x: (x, x, x + 1)), (X,)),
    "a scalar": (lambda: Layer(lambda m, x: x * 2), (torch.tensor(1.5),)),
    "an expanded input that has gradients": (
        lambda: nn.Linear(4, 3),
        (torch.randn(1, 4, requires_grad=True).expand(3, 4),),
    ),
    "any number of arguments": (lambda: Layer(lambda m, *x: sum(x)), (X, X, X)),
    "in training": (
        lambda: nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5)).train(),
        (X,),
    ),
    "the least of integers": (lambda: Layer(lambda m, i: i * 2 + 1), (torch.tensor([2**60, -3]),)),
    "bytes": (
        lambda: Layer(lambda m, i: (i.float() / 255).mul(200).to(torch.uint8)),
        (torch.arange(256, dtype=torch.uint8),),
    ),
    "int8": (lambda: Layer(lambda m, i: i // 2), (torch.arange(-128, 128).to(torch.int8),)),
    "float64": (lambda: nn.Linear(4, 3).double(), (X.double(),)),
    "bfloat16": (
        lambda: nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.GELU()).bfloat16(),
        (X.bfloat16(),),
    ),
    "infinite where there is a mask": (
        lambda: Layer(lambda m, x: x.masked_fill(x > 0, -torch.inf)),
        (X,),
    ),
    "limits for what is infinite": (lambda: Layer(lambda m, x: torch.nan_to_num(x / 0)), (X,)),
    "a quantile": (lambda: Layer(lambda m, x: x.quantile(0.3, -1)), (torch.randn(3, 7),)),
    "a sum that cancels": (
        lambda: Layer(lambda m, x: F.interpolate(x, size=[1, 1], mode="bicubic")),
        (torch.randn(1, 1, 4, 4),),
    ),
    "a cross product": (
        lambda: Layer(lambda m, x, y: torch.linalg.cross(x, y)),
        (torch.randn(4, 3), torch.randn(4, 3)),
    ),
    "a phase of many turns": (lambda: Layer(lambda m, x: torch.sinc(x)), (X,)),
    "an inverse, which is none where rows are equal": (
        lambda: Layer(lambda m, x: torch.linalg.inv(x)),
        (torch.randn(3, 3) + 3 * torch.eye(3),),
    ),
    "magnitudes of tiny complex numbers": (
        lambda: Layer(lambda m, x: torch.fft.rfft(x).abs()),
        (X,),
    ),
}


@pytest.mark.parametrize("name", TAKEN)
def test_is_taken(name):
    make, inputs = TAKEN[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = make()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # as many projects have it
        report = assert_export_parity(module, inputs, **SCRIPT)
    assert report.results[0].cases


class Locked(nn.Linear):
    def __init__(self):
        super().__init__(4, 3)
        self.lock = threading.Lock()


REFUSED = {
    "a shape of the numbers": (
        lambda: Layer(lambda m, x: x[x > 0]),
        (X,),
        "depends on the numbers",
    ),
    "nothing to compare": (lambda: Layer(lambda m, x: (x, x[:0])), (X,), "and holds nothing"),
    "an empty input": (
        lambda: Layer(lambda m, x, y: torch.cat([x, y])),
        (X, torch.zeros(0, 4)),
        "nothing of size 0. Give an example of another size",
    ),
    "a dtype of no graph": (
        lambda: Layer(lambda m, i: i.float()),
        (torch.arange(4).to(torch.uint16),),
        "uint16 .* or convert it, in a module around this one",
    ),
    "in place on its input": (
        lambda: nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 2)),
        (X,),
        r"changes its input input in place, .* work on input.clone",
    ),
    "a lock": (Locked, (X,), "cannot be copied, .* take what cannot"),
    "a class of one's own": (
        lambda: Layer(lambda m, x: Result(x)),
        (X,),
        "got Result; take it out",
    ),
    "a number": (lambda: Layer(lambda m, x: (x, 3)), (X,), "output_1 must be a tensor, got int"),
    "a word": (lambda: Layer(lambda m, x, s: x), (X, "s"), "must be a tensor, got str; bind"),
    "a first number that is random": (
        lambda: Layer(lambda m, x: torch.multinomial(x.softmax(-1), 1)),
        (torch.rand(8, 40),),
        "another each time",
    ),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", REFUSED)
def test_is_refused_with_a_way_out(name):
    make, inputs, message = REFUSED[name]
    with pytest.raises(OptionError, match=message):
        assert_export_parity(make(), inputs, **SCRIPT)


def test_a_branch_of_torch():
    branch = Layer(lambda m, x: torch.cond(x.sum() > 0, lambda v: v * 2, lambda v: v - 1, (x,)))
    assert assert_export_parity(branch, torch.randn(4), backends=["onnx"]).passed
    with pytest.raises(ParityError):  # a trace has one branch
        assert_export_parity(branch, torch.randn(4), **SCRIPT)
