"""Layer norms of float32 rows in ONNX Runtime, by its operators; this decided `onnx_layer_norm`."""

from collections.abc import Callable
from unittest.mock import patch

import numpy as np
import onnxruntime
import torch
from torch import nn

from benchmarks.timing import Row, compare
from deploy_bias.export.backends.onnx_layer_norm import TRANSLATIONS

SIZE, LAYERS = 256, 50


def rows() -> list[Row]:
    found = []
    for count in (1, 20):
        x = torch.randn(1, count, SIZE)
        layers = nn.Sequential(*(nn.LayerNorm(SIZE, eps=1e-12) for _ in range(LAYERS))).eval()
        candidates = {"instance norm": _session(layers, x)}
        with patch.dict(TRANSLATIONS, clear=True):
            candidates["LayerNormalization"] = _session(layers, x)
        found.append(
            compare(
                f"{LAYERS} layer norms of {count} x {SIZE}, ONNX Runtime",
                candidates,
                ("LayerNormalization", "instance norm"),
                at_least=1.0,
            )
        )
    return found


def _session(layers: nn.Module, x: torch.Tensor) -> Callable[[], object]:
    program = torch.onnx.export(
        layers,
        (x,),
        dynamo=True,
        opset_version=20,
        optimize=False,
        verbose=False,
        custom_translation_table=TRANSLATIONS,
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        program.model_proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    feed = {session.get_inputs()[0].name: np.ascontiguousarray(x.numpy())}
    return lambda: session.run(None, feed)
