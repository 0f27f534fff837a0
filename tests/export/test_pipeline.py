"""Random models with every block, input and decoder, exported whole, against ESPnet's pipeline."""

from functools import partial

import numpy as np
import pytest

from deploy_bias.export import ExportOptions, export_bundle
from deploy_bias.runtime import OfflineRecognizer, Recognizer
from tests.deploy_bias.runtime.recognizer.test_online import (
    decode_all,
    encoder_frames,
    espnet_greedy,
)
from tests.deploy_bias.runtime.search.test_search import espnet_search
from tests.espnet.encoders import CAUSAL, SMALL
from tests.espnet.experiments import write_experiment
from tests.espnet.speech import RATE, Espnet, samples_of

BODY = [
    {"block_type": "conv1d", "output_size": 16, "kernel_size": 3},
    *({"block_type": kind, **SMALL} for kind in ("conformer", "branchformer", "ebranchformer")),
    {"block_type": "conv1d", "output_size": 12, "kernel_size": 2, "batch_norm": True},
]
"""A block of every kind; each kind alone is compared with ESPnet in tests/deploy_bias/encoder."""
INPUTS = {"conv2d": {"conv_size": 6}, "vgg": {"vgg_like": True, "conv_size": [4, 6]}}
STREAMING = {
    "conv2d": ("rnn", {"embed_size": 10, "hidden_size": 14}),
    "vgg": ("stateless", {"embed_size": 16}),
}
OFFLINE = {
    "conv2d": ("rnn", {"embed_size": 16, "hidden_size": 12, "rnn_type": "gru", "num_layers": 2}),
    "vgg": ("rwkv", {"block_size": 16, "num_blocks": 3, "rescale_every": 2}),
}
"""Decoders by input; the shipped model has the fourth one."""
OFFLINE_BACKENDS = {"conv2d": ["onnx", "executorch"], "vgg": ["onnx"]}
"""By input. An export of loops to ExecuTorch takes a minute."""
SAMPLES = [samples_of("digits_55"), samples_of("prompts_3")]
SEARCHES = [("default", 1), ("default", 3), ("maes", 3)]


def experiment(folder, name, decoders, main):
    encoder_conf = {"body_conf": BODY, "input_conf": INPUTS[name], "main_conf": main}
    decoder, decoder_conf = decoders[name]
    return write_experiment(folder, encoder_conf, decoder_conf, decoder=decoder)


@pytest.fixture(scope="module", params=INPUTS)
def streaming(request, tmp_path_factory):
    """An experiment folder, and a bundle of it."""
    base = tmp_path_factory.mktemp(request.param)
    folder = experiment(base / "experiment", request.param, STREAMING, CAUSAL)
    export_bundle(folder, base / "bundle", ExportOptions(backends=["onnx", "executorch"]))
    return folder, base / "bundle"


@pytest.mark.parametrize("backend", ["onnx", "executorch"])
def test_streaming(streaming, backend):
    folder, bundle = streaming
    for samples in SAMPLES:
        expected = [frames for _, frames in Espnet(folder).chunks(samples)]
        found = encoder_frames(Recognizer(bundle, backend, lead_in=0), samples)
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-4, rtol=0)
        check_labels(partial(Recognizer, bundle, backend, lead_in=0), folder, expected, samples)


@pytest.mark.parametrize("name", INPUTS)
def test_offline(name, tmp_path):
    """Without dynamic_chunk_training, so that convolutions look ahead and conv1d leaves out."""
    folder = experiment(tmp_path / "experiment", name, OFFLINE, {})
    backends = OFFLINE_BACKENDS[name]
    export_bundle(folder, tmp_path / "b", ExportOptions(backends=backends, offline=True))
    for samples in SAMPLES:
        expected = Espnet(folder).whole(samples)
        for backend in backends:
            make = partial(OfflineRecognizer, tmp_path / "b", backend, lead_in=0)
            with make().create_stream() as stream:
                np.testing.assert_allclose(stream._encode(samples), expected, atol=1e-4, rtol=0)
            check_labels(make, folder, [expected], samples)


def check_labels(make, folder, frames, samples):
    """Greedy and beam search give the labels and scores of ESPnet's."""
    labels, score = espnet_greedy(folder, frames)
    found = make().decode(samples, RATE)
    assert len(set(labels)) == 2
    assert found.labels == labels
    assert abs(found.score - score) < 1e-3
    for search, beam_size in SEARCHES:
        theirs = espnet_search(folder, frames, search, beam_size=beam_size)
        recognizer = make(search=search, beam_size=beam_size)
        with recognizer.create_stream() as stream:
            stream.accept_waveform(RATE, samples)
            stream.input_finished()
            decode_all(recognizer, stream)
            ours = recognizer.get_nbest(stream, 3)
        assert [our.labels for our in ours] == [tuple(their.yseq[1:]) for their in theirs]
        for our, their in zip(ours, theirs, strict=True):
            assert abs(our.score - float(their.score)) < 1e-3
