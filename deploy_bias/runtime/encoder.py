"""The streaming encoder at run time: chunk by chunk, for any number of streams. No torch here."""

from __future__ import annotations

import numpy as np

from deploy_bias.bundle.contract import settings_of
from deploy_bias.bundle.settings import EncoderSettings
from deploy_bias.errors import ContractError
from deploy_bias.runtime.checks import Closing, check_finite, describe
from deploy_bias.runtime.features import FeatureChunk
from deploy_bias.runtime.graph import Graph, check_kind
from deploy_bias.runtime.state import StateSpace


class Encoder:
    """The encoder of a bundle; streams share it, from as many threads as there are.

    Args:
        graph: the graph `encoder` of `deploy_bias.runtime.load`.

    Raises:
        ContractError: it is another graph.
    """

    def __init__(self, graph: Graph) -> None:
        check_kind(graph, "encoder", "streaming encoder")
        self.graph = graph
        self.settings = settings_of(graph.contract, EncoderSettings)
        features, frames = graph.contract.stateless_inputs
        self.features, self.frames = features.name, frames.name
        self.features_shape = features.static_shape
        self.rows = graph.contract.outputs[0].rows
        self.output_size = graph.contract.outputs[0].static_shape[2]

    def stream(self) -> EncoderStream:
        """Open a stream: one utterance after another, in one thread."""
        return EncoderStream(self)


class EncoderStream(Closing):
    """The chunks of an utterance. Close it, or use it in a `with` statement.

    Memory is two windows each, however long the utterance.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self._encoder = encoder
        self._space = StateSpace(encoder.graph.contract)
        self.reset()

    def reset(self) -> None:
        """Forget the utterance so far: the next chunk is the first of one."""
        self._state = self._space.start()

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
        encoder = self._encoder
        assert encoder.rows is not None
        count = encoder.rows.count(chunk.frames)
        if not count:
            return np.zeros((0, encoder.output_size), np.float32)
        own = {
            encoder.features: np.ascontiguousarray(chunk.features),
            encoder.frames: np.array([chunk.frames], np.int64),
        }
        outputs = encoder.graph.run(self._space.feed([self._state], own))
        (self._state,) = self._space.after([self._state], own, outputs)
        return outputs[0][0, :count]

    def _check(self, chunk: FeatureChunk) -> None:
        self.check_open()
        features, shape = chunk.features, self._encoder.features_shape
        good = isinstance(features, np.ndarray) and features.dtype == np.float32
        if not good or features.shape != shape:
            raise ContractError(
                f"features must be a numpy array float32 {shape}, got {describe(features)}; is the "
                "chunk of another bundle?"
            )
        if not 0 <= chunk.frames <= shape[1]:
            raise ContractError(f"frames must be 0 to {shape[1]}, got {chunk.frames}.")
        check_finite(features[0], "feature frame", "look for them in its audio")
