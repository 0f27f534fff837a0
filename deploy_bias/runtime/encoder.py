"""The streaming encoder at run time: chunk by chunk, for any number of streams. No torch here."""

from __future__ import annotations

from types import TracebackType

import numpy as np

from deploy_bias.bundle.contract import EncoderModule
from deploy_bias.errors import ContractError
from deploy_bias.runtime.features import FeatureChunk
from deploy_bias.runtime.graph import Graph


class Encoder:
    """The encoder of a bundle; streams share it, from as many threads as there are.

    Args:
        graph: the graph `encoder` of `deploy_bias.runtime.load`.

    Raises:
        ContractError: it is another graph.
    """

    def __init__(self, graph: Graph) -> None:
        module = graph.contract.module
        if graph.contract.kind != "encoder" or not isinstance(module, EncoderModule):
            raise ContractError(
                f"graph {graph.contract.name!r} is no streaming encoder; take graphs['encoder'] of "
                "deploy_bias.runtime.load."
            )
        self.graph = graph
        self.module = module
        shapes = {
            spec.name: tuple(size for size in spec.shape if isinstance(size, int))
            for spec in (*graph.contract.inputs, *graph.contract.outputs)
        }
        self.features_shape = shapes["features"]
        self.output_size = shapes["encoder_out"][2]
        # The contract has the state in the order of the inputs: valid, windows.
        _, *windows = graph.contract.state
        self.window_shapes = [shapes[state.input][1:] for state in windows]
        names = [spec.name for spec in graph.contract.outputs]
        self.rows = [names.index(state.output or "") for state in windows]

    def stream(self) -> EncoderStream:
        """Open a stream: one utterance after another, in one thread."""
        return EncoderStream(self)


class EncoderStream:
    """The chunks of an utterance. Close it, or use it in a `with` statement.

    Memory is two windows each, however long the utterance.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._closed = False
        self.reset()

    def reset(self) -> None:
        """Forget the utterance so far: the next chunk is the first of one."""
        self._valid = 0
        self._windows = [_Window(rows, size) for rows, size in self._encoder.window_shapes]

    def accept(self, chunk: FeatureChunk) -> np.ndarray:
        """Encode the next chunk.

        Args:
            chunk: of `FeatureStream`, with features (1, F, M).

        Returns:
            Its encoder frames (n, D) float32; n may be 0.

        Raises:
            ContractError: the features have another shape or dtype or hold NaN or infinity, there
                are more frames than F, or the stream is closed. Nothing is changed then.
        """
        self._check(chunk)
        encoder, module = self._encoder, self._encoder.module
        count = module.encoder_frames(chunk.frames)
        if not count:
            return np.zeros((0, encoder.output_size), np.float32)
        outputs = encoder.graph.run(
            [
                np.ascontiguousarray(chunk.features),
                np.array([chunk.frames], np.int64),
                np.array([self._valid], np.int64),
                *(window.view() for window in self._windows),
            ]
        )
        for window, output in zip(self._windows, encoder.rows, strict=True):
            window.extend(outputs[output][0, :count])
        self._valid = min(self._valid + count, module.left_context)
        return outputs[0][0, :count]

    def close(self) -> None:
        """End the stream."""
        self._closed = True
        self._windows = []

    def __enter__(self) -> EncoderStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _check(self, chunk: FeatureChunk) -> None:
        if self._closed:
            raise ContractError("the stream is closed; open another one.")
        features, shape = chunk.features, self._encoder.features_shape
        good = isinstance(features, np.ndarray) and features.dtype == np.float32
        if not good or features.shape != shape:
            came = (
                f"{features.dtype} {features.shape}"
                if isinstance(features, np.ndarray)
                else type(features).__name__
            )
            raise ContractError(
                f"features must be a numpy array float32 {shape}, got {came}; is the chunk of "
                "another bundle?"
            )
        if not 0 <= chunk.frames <= shape[1]:
            raise ContractError(f"frames must be 0 to {shape[1]}, got {chunk.frames}.")
        finite = np.isfinite(features[0]).all(axis=1)
        if not finite.all():
            raise ContractError(
                f"feature frame {int(finite.argmin())} of {shape[1]} holds NaN or infinity; look "
                "for them in its audio."
            )


class _Window:
    """The last rows of a series, zeros at first: one contiguous piece of a buffer of twice them."""

    def __init__(self, rows: int, size: int) -> None:
        self._buffer = np.zeros((2 * rows, size), np.float32)
        self._rows = rows
        self._at = 0

    def view(self) -> np.ndarray:
        """Return (1, rows, size), oldest first; a view, not to be written."""
        return self._buffer[None, self._at : self._at + self._rows]

    def extend(self, new: np.ndarray) -> None:
        """Append rows (n, size); as many of the oldest ones go."""
        new = new[-self._rows :]
        if self._at + self._rows + len(new) > len(self._buffer):
            self._buffer[: self._rows] = self._buffer[self._at : self._at + self._rows]
            self._at = 0
        end = self._at + self._rows
        self._buffer[end : end + len(new)] = new
        self._at += len(new)
