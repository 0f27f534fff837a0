"""Ordinary modules of many kinds, each with an example and what is known to be wrong of it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deploy_bias.errors import OptionError

R = torch.randn


class Layer(nn.Module):
    """A function, with the layers that it uses."""

    def __init__(self, function: Callable[..., Any], **layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, *inputs: Tensor) -> Any:
        """The function of the module and its inputs."""
        return self.function(self, *inputs)


@dataclass(frozen=True)
class Animal:
    """A module, its example and the arguments of `assert_export_parity`.

    red: why it is rightly red, by backend; and `named`, the operator that must be named there.
    refusal: what is in the OptionError that it must end in, if it must.
    """

    make: Callable[[], nn.Module]
    example: Callable[[], Any]
    options: dict[str, Any] = field(default_factory=dict)
    red: dict[str, str] = field(default_factory=dict)
    named: dict[str, str] = field(default_factory=dict)
    refusal: str | None = None
    error: type[Exception] = OptionError


LACKING = "ExecuTorch lacks an operator"


def _of(function: Callable[..., Any], *shapes: Any, **layers: Callable[[], nn.Module]) -> Animal:
    """Return a function of random tensors of some shapes, or of what is given for one."""

    def example() -> tuple[Tensor, ...]:
        return tuple(R(shape) if isinstance(shape, tuple) else shape() for shape in shapes)

    return Animal(
        lambda: Layer(function, **{name: make() for name, make in layers.items()}), example
    )


def _layer(make: Callable[[], nn.Module], *shape: int) -> Animal:
    return Animal(make, lambda: R(shape))


def _ids(*shape: int) -> Callable[[], Tensor]:
    return lambda: torch.randint(0, 9, shape)


IMAGE, ROWS, TOKENS = (1, 3, 12, 12), (3, 8), (2, 5, 8)

LAYERS = {
    "linear": _layer(lambda: nn.Linear(8, 4), *ROWS),
    "bilinear": _of(lambda m, x, y: m.b(x, y), ROWS, ROWS, b=lambda: nn.Bilinear(8, 8, 3)),
    "conv1d": _layer(lambda: nn.Conv1d(3, 5, 3, padding=1), 1, 3, 16),
    "conv2d groups": _layer(lambda: nn.Conv2d(4, 8, 3, groups=2, dilation=2), 1, 4, 12, 12),
    "conv3d": _layer(lambda: nn.Conv3d(2, 3, 2), 1, 2, 5, 5, 5),
    "transposed conv": _layer(lambda: nn.ConvTranspose2d(3, 4, 3, stride=2), *IMAGE),
    "depthwise": _layer(
        lambda: nn.Sequential(nn.Conv2d(3, 3, 3, groups=3), nn.Conv2d(3, 6, 1), nn.ReLU6()), *IMAGE
    ),
    "conv bn relu": _layer(
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU()), *IMAGE
    ),
    "conv bn elu": _layer(
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ELU()), *IMAGE
    ),
    "layer norm": _layer(lambda: nn.LayerNorm(8), *TOKENS),
    "group norm": _layer(lambda: nn.GroupNorm(2, 4), 2, 4, 6),
    "instance norm": _layer(lambda: nn.InstanceNorm1d(4), 2, 4, 9),
    "rms norm": _layer(lambda: nn.RMSNorm(8), *TOKENS),
    "batch norm": _layer(lambda: nn.BatchNorm1d(8), *ROWS),
    "local response norm": _layer(lambda: nn.LocalResponseNorm(2), *IMAGE),
    "embedding": Animal(lambda: nn.Embedding(9, 4), _ids(2, 3)),
    "embedding bag": Animal(lambda: nn.EmbeddingBag(9, 4), _ids(2, 3)),
    "lstm": _of(lambda m, x: m.l(x)[0], TOKENS, l=lambda: nn.LSTM(8, 6, batch_first=True)),
    "lstm both ways": _of(
        lambda m, x: m.l(x)[0], TOKENS, l=lambda: nn.LSTM(8, 4, bidirectional=True)
    ),
    "gru": _of(lambda m, x: m.g(x), TOKENS, g=lambda: nn.GRU(8, 6, num_layers=2)),
    "attention": _of(
        lambda m, x: m.a(x, x, x, need_weights=False),
        TOKENS,
        a=lambda: nn.MultiheadAttention(8, 2, batch_first=True),
    ),
    "attention and its weights": _of(
        lambda m, x: m.a(x, x, x), TOKENS, a=lambda: nn.MultiheadAttention(8, 2, batch_first=True)
    ),
    "encoder layer": _layer(
        lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), *TOKENS
    ),
    "encoder layer, norm first": _layer(
        lambda: nn.TransformerEncoderLayer(
            8, 2, 16, batch_first=True, norm_first=True, activation="gelu"
        ),
        *TOKENS,
    ),
    "decoder layer": _of(
        lambda m, x, y: m.d(x, y),
        TOKENS,
        TOKENS,
        d=lambda: nn.TransformerDecoderLayer(8, 2, 16, batch_first=True),
    ),
    "max pool": _layer(lambda: nn.MaxPool2d(2), *IMAGE),
    "average pool": _layer(lambda: nn.AvgPool2d(3, 2, 1), *IMAGE),
    "adaptive pool": _layer(lambda: nn.AdaptiveAvgPool2d(4), *IMAGE),
    "weight norm": _layer(
        lambda: nn.utils.parametrizations.weight_norm(nn.Conv1d(3, 4, 3)), 1, 3, 9
    ),
    "spectral norm": _layer(
        lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(8, 4)), *ROWS
    ),
    "lazy": _layer(lambda: nn.LazyLinear(4), *ROWS),
    "prelu": _layer(lambda: nn.PReLU(8), *ROWS),
    "glu": _layer(nn.GLU, *ROWS),
    "pixel shuffle": _layer(lambda: nn.PixelShuffle(2), 1, 4, 3, 3),
    "unfold": _layer(lambda: nn.Unfold(3), *IMAGE),
    "cosine similarity": _of(lambda m, x, y: F.cosine_similarity(x, y), ROWS, ROWS),
    "pairwise distance": _of(lambda m, x, y: F.pairwise_distance(x, y), ROWS, ROWS),
}
ACTIVATIONS = {
    name: _of(lambda m, x, f=function: f(3 * x), (4, 16))
    for name, function in {
        **{name: getattr(F, name) for name in ("relu", "elu", "selu", "celu", "gelu", "silu")},
        **{name: getattr(F, name) for name in ("mish", "softplus", "softsign", "hardswish")},
        **{name: getattr(F, name) for name in ("hardsigmoid", "hardtanh", "tanhshrink")},
        **{name: getattr(torch, name) for name in ("tanh", "sigmoid", "exp", "sin", "cos", "erf")},
        **{name: getattr(torch, name) for name in ("atan", "expm1", "asinh", "floor", "round")},
        "tanh gelu": lambda x: F.gelu(x, approximate="tanh"),
        "log1p": lambda x: torch.log1p(x.abs()),
        "log": lambda x: torch.log(x.abs() + 1e-6),
        "rsqrt": lambda x: torch.rsqrt(x.abs() + 1e-6),
        "softmax": lambda x: F.softmax(x, -1),
        "log softmax": lambda x: F.log_softmax(x, -1),
        "logsumexp": lambda x: torch.logsumexp(x, -1),
        "power": lambda x: x.abs() ** 1.7,
        "square": lambda x: x**2,
        "sign": torch.sign,
        "clamp": lambda x: x.clamp(-1, 2),
        "normalize": lambda x: F.normalize(x, dim=-1),
    }.items()
}
FUNCTIONS = {
    "linear of zeros": _of(
        lambda m, x: m.l(x, (torch.zeros(1, 2, 6), torch.zeros(1, 2, 6)))[0],
        TOKENS,
        l=lambda: nn.LSTM(8, 6, batch_first=True),
    ),
    "integers to floats": _of(lambda m, i: i.float() / 3, _ids(2, 3)),
    "softmax in float32": _of(lambda m, x: F.softmax(x, dim=-1, dtype=torch.float32), ROWS),
    "a constant beside": _of(lambda m, x: (x + 1, torch.arange(5.0)), ROWS),
    "a least number for a mask": _of(
        lambda m, x, k: m.l(x).masked_fill(k, torch.finfo(x.dtype).min),
        ROWS,
        lambda: torch.arange(24).view(3, 8) % 3 == 0,
        l=lambda: nn.Linear(8, 8),
    ),
    "epsilon": _of(
        lambda m, x: x / (x.norm(dim=-1, keepdim=True) + torch.finfo(x.dtype).eps), ROWS
    ),
    "argmax": _of(lambda m, x: m.l(x).argmax(-1), ROWS, l=lambda: nn.Linear(8, 5)),
    "topk": _of(lambda m, x: torch.topk(x, 3), ROWS),
    "sort": _of(lambda m, x: torch.sort(x), ROWS),
    "argsort, a gather": _of(lambda m, x: x.gather(1, x.argsort(1)), ROWS),
    "one-hot": _of(lambda m, i: F.one_hot(i, 9), _ids(2, 3)),
    "where": _of(lambda m, x: torch.where(x > 0, x * 2, x.exp()), ROWS),
    "comparison": _of(lambda m, x, y: (x > y, x <= y), ROWS, ROWS),
    "to integers": _of(lambda m, x: (x * 10).round().to(torch.int32), ROWS),
    "bytes": _of(lambda m, x: (x.sigmoid() * 255).to(torch.uint8), ROWS),
    "of bytes": _of(
        lambda m, i: i.float() / 255,
        lambda: torch.randint(0, 256, (1, 3, 4, 4), dtype=torch.uint8),
    ),
    "integer arithmetic": _of(lambda m, i: (i + 3) * 2 - i // 2, _ids(3, 4)),
    "cumsum": _of(lambda m, x: x.cumsum(1), ROWS),
    "mean and deviation": _of(lambda m, x: torch.cat([x.mean(1), x.std(1)], -1), TOKENS),
    "variance": _of(lambda m, x: torch.var(x, -1, correction=0), TOKENS),
    "einsum": _of(lambda m, x, y: torch.einsum("bij,bkj->bik", x, y), TOKENS, TOKENS),
    "cat": _of(lambda m, x, y: torch.cat([x, 1e6 * y], -1), ROWS, ROWS),
    "split": _of(lambda m, x: x.chunk(2, -1), ROWS),
    "pad": _of(lambda m, x: F.pad(x, (1, 2), value=-1.0), ROWS),
    "reflect": _of(lambda m, x: F.pad(x, (2, 2), mode="reflect"), (1, 3, 9)),
    "tril": _of(lambda m, x: x.tril(), (2, 5, 5)),
    "roll": _of(lambda m, x: x.roll(2, -1), ROWS),
    "rotary": _of(
        lambda m, x: torch.cat([-x[..., 4:], x[..., :4]], -1) * torch.arange(8.0).cos(), TOKENS
    ),
    "scaled attention": _of(
        lambda m, x: F.scaled_dot_product_attention(x, x, x, is_causal=True), (1, 2, 5, 8)
    ),
    "written in place": _of(lambda m, x: _written(x), ROWS),
    "nearest, twice": _of(lambda m, x: F.interpolate(x, scale_factor=2), IMAGE),
    "bilinear, twice": _of(lambda m, x: F.interpolate(x, scale_factor=2, mode="bilinear"), IMAGE),
    "spectrum": _of(lambda m, x: torch.fft.rfft(x), (2, 16)),
    "power spectrum": _of(lambda m, x: torch.fft.rfft(x).abs(), (2, 16)),
    "matrix power of two": _of(lambda m, x: x @ x, (2, 4, 4)),
    "named": _of(lambda m, x: {"a": x + 1, "b": None, "c": [x * 2]}, ROWS),
    "a number of the data": _of(lambda m, x: x / x.abs().max(), ROWS),
    "outer product": _of(lambda m, x: x.unsqueeze(-1) * x.unsqueeze(-2), ROWS),
    "scatter": _of(
        lambda m, x: torch.zeros(3, 8).scatter_add(1, torch.arange(8).expand(3, 8) // 2, x), ROWS
    ),
    "branch": Animal(
        lambda: Layer(lambda m, x: torch.cond(x.sum() > 0, lambda v: v * 2, lambda v: v - 1, (x,))),
        lambda: R(4),
        red={"torchscript": "a trace has one branch"},
    ),
}
WITHOUT_KERNEL = (
    ("linear", "bfloat16"),
    ("perceptron", "bfloat16"),
    ("perceptron", "float64"),
)
PRECISIONS = {
    f"{name} in {dtype}": Animal(
        lambda make=make, dtype=dtype: make().to(getattr(torch, dtype)),
        lambda shape=shape, dtype=dtype: R(shape, dtype=getattr(torch, dtype)),
        red={"onnx": "ONNX Runtime has no kernel"} if (name, dtype) in WITHOUT_KERNEL else {},
    )
    for dtype in ("float16", "bfloat16", "float64")
    for name, (make, shape) in {
        "linear": (lambda: nn.Linear(8, 4), ROWS),
        "perceptron": (lambda: nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 2)), ROWS),
    }.items()
}


class Remembering(nn.Module):
    """A convolution over what came before, too, and a count of the calls."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(4, 5, 3)
        self.register_buffer("past", torch.ones(1, 4, 2))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        """(1, 4, T) to (1, 5, T)."""
        whole = torch.cat([self.past, x], -1)
        self.past = whole[..., -2:]
        self.calls += 1
        return self.conv(whole) / self.calls


FUNCTIONS["buffers that change"] = Animal(Remembering, lambda: R(1, 4, 3), {"steps": 3})
TO, FROM = torch.tensor([0, 1, 1, 2]), (4,)
BUGS = {
    "nearest, 26 to 64": (
        _of(lambda m, x: F.interpolate(x, size=[64], mode="nearest"), (1, 1, 26)),
        {"onnx": ("onnxruntime#12098, another pixel", "aten.upsample_nearest1d.vec")},
    ),
    "transposed conv, padded twice": (
        _layer(
            lambda: nn.ConvTranspose2d(1, 3, 2, padding=3, dilation=2, output_padding=1),
            *(1, 1, 12, 12),
        ),
        {
            "onnx": ("onnxruntime#14208; 1.29 refuses it when it runs", "ConvTranspose"),
            "executorch": ("its kernel refuses it", "failed to run"),
        },
    ),
    "average by another divisor": (
        _of(lambda m, x: F.avg_pool2d(x, 3, divisor_override=2), IMAGE),
        {"onnx": ("the exporter leaves divisor_override out", "aten.avg_pool2d.default")},
    ),
    "scattered means": (
        _of(lambda m, x: torch.ones(3).scatter_reduce(0, TO, x, "mean"), FROM),
        {
            "onnx": ("the exporter adds, and does not divide", "aten.scatter_reduce.two"),
            "executorch": (LACKING, "aten::scatter_reduce.two_out"),
        },
    ),
    "remainder of floats": (
        _of(lambda m, x, y: torch.remainder(9 * x, y), ROWS, ROWS),
        {"onnx": ("x - floor(x / y) y, where fmod is exact", "aten.remainder.Tensor")},
    ),
    "logarithm of a sigmoid": (
        _of(lambda m, x: F.logsigmoid(x), ROWS),
        {"onnx": ("the logarithm of what is 0", "aten.log_sigmoid.default")},
    ),
    "logarithm of a sum": (
        _of(lambda m, x, y: torch.logaddexp(x, y), ROWS, ROWS),
        {"onnx": ("the exponential of what is large", "aten.logaddexp.default")},
    ),
    "remainder of negative integers": (
        _of(lambda m, i: torch.remainder(i, 3), lambda: torch.arange(-8, 8)),
        {"executorch": ("the sign of the number", "aten.remainder.Scalar")},
    ),
    "rows far from zero": (
        Animal(lambda: nn.LayerNorm(64), lambda: 100 + R(4, 64)),
        {"executorch": ("executorch#16712, E[x^2] - E[x]^2", "aten.layer_norm.default")},
    ),
    "gelu by tanh": (
        _of(lambda m, x: F.gelu(x, approximate="tanh"), ROWS),
        {"executorch": ("executorch#22851, XNNPACK's own", "aten.gelu.default")},
    ),
}
"""What still stands in the pinned versions."""
REFUSED = {
    "a shape of the data": Animal(
        lambda: Layer(lambda m, x: x[x > 0]), lambda: R(6), refusal="depends on the numbers"
    ),
    "random": Animal(
        lambda: Layer(lambda m, x: x + torch.rand_like(x)),
        lambda: R(6),
        refusal="another each time",
    ),
    "nothing": Animal(lambda: Layer(lambda m, x: None), lambda: R(6), refusal="nothing to compare"),
    "of size 0": Animal(lambda: Layer(lambda m, x: x[:0]), lambda: R(6), refusal="holds nothing"),
}
ZOO = {**LAYERS, **ACTIVATIONS, **FUNCTIONS, **PRECISIONS, **REFUSED}
for _name, (_animal, _backends) in BUGS.items():
    ZOO[_name] = replace(
        _animal,
        red={backend: why for backend, (why, _) in _backends.items()},
        named={backend: operator for backend, (_, operator) in _backends.items()},
    )
for _name, _why in {
    **dict.fromkeys(("bilinear", "conv3d", "local response norm", "embedding bag"), LACKING),
    **dict.fromkeys(("sort", "argsort, a gather", "power spectrum"), LACKING),
    "prelu": "XNNPACK's pass of layouts fails on two dimensions",
    "tanh gelu": "XNNPACK approximates it, off by 4e-4",
}.items():
    ZOO[_name] = replace(ZOO[_name], red={"executorch": _why})


def _written(x: Tensor) -> Tensor:
    y = torch.zeros(x.shape)
    y[:, 0] = x[:, 1]
    y[:, 1:] += x[:, 1:]
    return y
