"""Whole utterances to text, by the graphs that `--offline` exports. No torch here.

recognizer = OfflineRecognizer("my-bundle", search="maes", beam_size=4)
print(recognizer.decode(samples, 16000).text)

The name is sherpa-onnx's. What is computed is what ESPnet's Speech2Text computes without streaming:
the features of the whole utterance, the encoder with every frame in sight of every one, the search.
"""

from __future__ import annotations

import numpy as np

from deploy_bias.bundle.contract import DynamicSize, settings_of
from deploy_bias.bundle.settings import OfflineEncoderSettings
from deploy_bias.runtime.graph import Graph
from deploy_bias.runtime.phrases import Phrases
from deploy_bias.runtime.recognizer.base import BaseRecognizer, BaseStream
from deploy_bias.runtime.samples import SampleStream
from deploy_bias.runtime.search.scorer import Steps


class OfflineRecognizer(BaseRecognizer):
    """A bundle that was exported with --offline; streams share it, from any threads.

    A stream is one utterance, and ready when its input is finished. One too short for an encoder
    frame has an empty text.

    Args:
        bundle: the folder, or one that is open already.
        backend: "onnx" or "executorch"; no other has such graphs.
        search: name; see `deploy_bias.runtime.search`.
        precision: "fp32", "int8" or "int4".
        providers: execution providers of ONNX Runtime, the first one preferred; else the CPU.
        check: compare the graphs with eager on the stored cases first; "fallback" takes another
            provider, precision or backend of the bundle where they are wrong, and logs it.
        graphs: to take in the place of what would be loaded, by name.
        lead_in: seconds of silence before the first sample; with 0 the result is ESPnet's.
        hotwords: that lead the search; see `Recognizer`.
        lm_weight: of the bundle's language model; see `Recognizer`.
        search_options: of the search, such as beam_size.

    Attributes:
        sample_rate: of the model, Hz. Other rates are resampled, by soxr.

    Raises:
        BundleError: the bundle is damaged, or has no frontend and encoder for whole utterances.
        BackendError: the backend is unknown, not installed or not in the bundle.
        OptionError: the search or an option is unknown or out of range.
        MismatchError: the graphs were checked, and are wrong here.
    """

    ENCODER_SETTINGS = OfflineEncoderSettings
    GRAPHS = ("offline_frontend", "offline_encoder")
    WAY_OUT = (
        "so no whole utterance can be recognised; export with --offline --backend onnx,executorch."
    )

    def create_stream(self, hotwords: Phrases | None = None) -> OfflineStream:
        """Open a stream; see `BaseRecognizer.create_stream`."""
        return OfflineStream(self, hotwords)


class OfflineStream(BaseStream):
    """An utterance; see `BaseStream`. It is kept whole until it is decoded."""

    recognizer: OfflineRecognizer

    def __init__(self, recognizer: OfflineRecognizer, hotwords: Phrases | None) -> None:
        second = recognizer.sample_rate
        most = most_samples(recognizer)
        samples = SampleStream(second, second, recognizer.lead_in_samples, most)
        super().__init__(recognizer, samples, hotwords)

    @property
    def is_ready(self) -> bool:
        """Whether the input is finished and was not decoded."""
        return any(is_last for _, is_last in self.samples.windows)

    def steps(self) -> Steps:
        """Decode the utterance."""
        samples = np.concatenate([window for window, _ in self.samples.windows])
        self.samples.windows.clear()
        encoder_out = self._encode(samples)
        times = [self.time(0, frame) for frame in range(len(encoder_out))]
        yield from self.advance(encoder_out, times)
        self.is_final = True

    def _encode(self, samples: np.ndarray) -> np.ndarray:
        """Return encoder frames (T, D) of samples (S,); T is 0 if there are too few."""
        nothing = np.zeros((0, self.recognizer.joint.encoder_size), np.float32)
        if len(samples) < length_of(self.recognizer.frontend).minimum:
            return nothing
        (features,) = self.recognizer.frontend.run([samples[None]])
        graph, frames = self.recognizer.encoder_graph, features.shape[1]
        rows = graph.contract.outputs[0].rows
        assert rows is not None
        if frames < settings_of(graph.contract, OfflineEncoderSettings).least_frames:
            return nothing
        rest = length_of(graph).at_least(frames) - frames
        padded = np.pad(features, ((0, 0), (0, rest), (0, 0)))
        (encoder_out,) = graph.run([padded, np.array([frames])])
        return encoder_out[0, : rows.count(frames)]


def length_of(graph: Graph) -> DynamicSize:
    """Return the lengths that a graph takes along axis 1 of its first input."""
    length = graph.contract.inputs[0].shape[1]
    assert isinstance(length, DynamicSize)
    return length


def most_samples(recognizer: OfflineRecognizer) -> int:
    """Return how many samples the frontend takes and the encoder takes frames of."""
    frames = recognizer.encoder_graph.contract.inputs[1].maximum
    assert frames is not None
    hop_length = recognizer.frontend_settings.hop_length
    return min(length_of(recognizer.frontend).maximum, frames * hop_length - 1)
