"""Architectures of torchvision, timm, transformers and torchaudio, small and with random weights.

They are the extra `zoo`; what is not installed is told as not right, and not left out.
"""

import importlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from tests.zoo.modules import Animal

R = torch.randn


class Named(nn.Module):
    """A model called by the names of its arguments, of whose outputs some are taken."""

    def __init__(self, model: nn.Module, outputs: tuple[str, ...], **fixed: Any) -> None:
        super().__init__()
        self.model, self.outputs, self.fixed = model, outputs, fixed

    def forward(self, **inputs: Tensor) -> tuple[Tensor, ...]:
        """The outputs of some names."""
        given = self.model(**inputs, **self.fixed)
        return tuple(getattr(given, name) for name in self.outputs)


def _vision(name: str, size: int = 32, **options: Any) -> Animal:
    def make() -> nn.Module:
        models = importlib.import_module("torchvision.models")
        model: nn.Module = getattr(models, name)(weights=None, num_classes=7, **options)
        return model

    return Animal(make, lambda: R(1, 3, size, size))


def _timm(name: str, size: int = 64, **options: Any) -> Animal:
    def make() -> nn.Module:
        timm = importlib.import_module("timm")
        model: nn.Module = timm.create_model(name, pretrained=False, num_classes=7, **options)
        return model

    return Animal(make, lambda: R(1, 3, size, size))


SIZES = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2}


def _of_tokens(
    name: str, *outputs: str, mask: bool = True, fixed: dict[str, Any] | None = None, **config: Any
) -> Animal:
    def make() -> nn.Module:
        transformers = importlib.import_module("transformers")
        kind = getattr(transformers, f"{name}Config")
        model = getattr(transformers, f"{name}Model")(kind(vocab_size=30, **config))
        return Named(model, outputs or ("last_hidden_state",), **(fixed or {}))

    def example() -> dict[str, Tensor]:
        given = {"input_ids": torch.randint(3, 30, (2, 6))}
        if mask:
            given["attention_mask"] = torch.tensor([[1] * 6, [1] * 4 + [0] * 2])
        return given

    return Animal(make, example)


def _of_numbers(name: str, key: str, shape: tuple[int, ...], **config: Any) -> Animal:
    def make() -> nn.Module:
        transformers = importlib.import_module("transformers")
        kind = getattr(transformers, f"{name}Config")
        model = getattr(transformers, f"{name}Model")(kind(**config))
        return Named(model, ("last_hidden_state",))

    return Animal(make, lambda: {key: R(shape)})


def _audio(make: Callable[[Any], nn.Module], *examples: Callable[[], Tensor]) -> Animal:
    return Animal(
        lambda: make(importlib.import_module("torchaudio")),
        lambda: tuple(example() for example in examples),
    )


DECODER = {"fixed": {"use_cache": False}, "intermediate_size": 24, **SIZES}
LIBRARIES = {
    "resnet18": _vision("resnet18"),
    "mobilenet v3": _vision("mobilenet_v3_small"),
    "squeezenet": _vision("squeezenet1_1"),
    "shufflenet": _vision("shufflenet_v2_x0_5"),
    "vision transformer": Animal(
        lambda: importlib.import_module("torchvision.models").VisionTransformer(
            32, 8, 2, 2, 16, 24, num_classes=7
        ),
        lambda: R(1, 3, 32, 32),
    ),
    "swin": Animal(
        lambda: importlib.import_module("torchvision.models").SwinTransformer(
            [4, 4], 12, [1, 1], [2, 2], [4, 4], num_classes=7
        ),
        lambda: R(1, 3, 32, 32),
    ),
    "timm vit": replace(
        _timm("test_vit", 160), red={"executorch": "Core ATen has no antialiased resize"}
    ),
    "timm convnext": _timm("test_convnext"),
    "timm efficientnet": _timm("test_efficientnet"),
    "timm resnet": _timm("test_resnet"),
    "timm nfnet": _timm("test_nfnet"),
    "bert": _of_tokens("Bert", "last_hidden_state", "pooler_output", intermediate_size=24, **SIZES),
    "distilbert": _of_tokens("DistilBert", dim=16, n_heads=2, n_layers=1, hidden_dim=24),
    "albert": _of_tokens("Albert", intermediate_size=24, embedding_size=8, **SIZES),
    "gpt 2": _of_tokens("GPT2", fixed={"use_cache": False}, n_embd=16, n_head=2, n_layer=1),
    "llama": _of_tokens("Llama", mask=False, num_key_value_heads=1, **DECODER),
    "qwen 2": _of_tokens("Qwen2", num_key_value_heads=1, **DECODER),
    "t5 encoder": Animal(
        lambda: Named(
            importlib.import_module("transformers").T5EncoderModel(
                importlib.import_module("transformers").T5Config(
                    vocab_size=30, d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2
                )
            ),
            ("last_hidden_state",),
        ),
        lambda: {"input_ids": torch.randint(3, 30, (2, 6))},
    ),
    "vit of transformers": _of_numbers(
        "ViT",
        "pixel_values",
        (1, 3, 16, 16),
        image_size=16,
        patch_size=8,
        intermediate_size=24,
        **SIZES,
    ),
    "wav2vec 2": _of_numbers(
        "Wav2Vec2",
        "input_values",
        (1, 800),
        intermediate_size=24,
        conv_dim=(8, 8),
        conv_stride=(5, 4),
        conv_kernel=(10, 8),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        **SIZES,
    ),
    "conformer of torchaudio": _audio(
        lambda t: t.models.Conformer(8, 2, 16, 1, 3),
        lambda: R(2, 9, 8),
        lambda: torch.tensor([9, 6]),
    ),
    "deep speech": _audio(lambda t: t.models.DeepSpeech(8, 16, 5), lambda: R(1, 1, 9, 8)),
    "conv-tasnet": _audio(
        lambda t: t.models.ConvTasNet(2, 8, 8, 3, 8, 12, 2, 1), lambda: R(1, 1, 128)
    ),
    "mel spectrogram": _audio(
        lambda t: t.transforms.MelSpectrogram(8000, 64, n_mels=10), lambda: R(1, 512)
    ),
}
