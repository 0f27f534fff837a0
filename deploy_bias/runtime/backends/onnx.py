"""ONNX Runtime."""

from collections.abc import Sequence

import numpy as np

PACKAGE = "onnxruntime"
EXTRA = "onnxruntime"
OLDEST = {"onnxruntime": (1, 23)}
SUFFIX = ".onnx"
FATAL = 4
"""ONNX Runtime writes no line of what is raised besides."""


class _OnnxSession:
    def __init__(self, data: bytes, providers: Sequence[str]) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        # A step is too short to share out, and threads that wait spin: streams run side by side.
        options.intra_op_num_threads = 1
        options.log_severity_level = FATAL
        self._session = onnxruntime.InferenceSession(
            data, options, providers=list(providers) or ["CPUExecutionProvider"]
        )
        self._inputs = [node.name for node in self._session.get_inputs()]
        self.label: str | None = self._session.get_modelmeta().custom_metadata_map.get(
            "deploy_bias"
        )

    def run(self, graph: str, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        # An ONNX file is one graph, so its name chooses nothing.
        outputs: list[np.ndarray] = self._session.run(
            None, dict(zip(self._inputs, inputs, strict=True))
        )
        return outputs


def providers() -> tuple[str, ...]:
    """Return the execution providers of the installed build."""
    import onnxruntime

    return tuple(onnxruntime.get_available_providers())


def open_session(data: bytes, providers: Sequence[str] = ()) -> _OnnxSession:
    """Load an ONNX model."""
    return _OnnxSession(data, providers)
