"""The decoder at run time gives what ESPnet's `inference` gives, for every hypothesis."""

import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from deploy_bias.errors import ContractError
from deploy_bias.export import ExportOptions, export_bundle
from deploy_bias.runtime import Decoder, load
from tests.espnet import models

BACKENDS = ("onnx", "executorch", "torchscript")


@pytest.fixture(scope="module")
def digits_decoders():
    return models.digits()


def decode(stream, labels):
    state, outs = stream.start(), []
    for label in labels:
        out, (state,) = stream.step([state], [int(label)])
        outs.append(out[0])
    return np.stack(outs)


def expected(decoder, labels, **options):
    return models.espnet_rollout(decoder, torch.tensor([labels]), **options)[0].numpy()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_thousand_labels_through_eight_windows(digits_bundle, digits_decoders, backend):
    labels = [0, *np.random.default_rng(0).integers(0, 14, 1000).tolist()]
    with Decoder(load(digits_bundle, backend)["decoder"]).stream() as stream:
        got = decode(stream, labels)
    wanted = expected(digits_decoders[1], labels, context=127)
    error = np.abs(got - wanted).max(axis=1)
    assert error.max() < 1e-4
    # No growth: the last quarter is not worse than the first by more than rounding's luck.
    assert error[-250:].max() < 2 * error[:250].max() + 1e-6


@pytest.mark.parametrize(
    ("options", "start"),
    [({}, "espnet"), ({}, "clean"), ({"chunk_size": 6}, "espnet")],
    ids=["sliding", "sliding, clean start", "chunks"],
)
@pytest.mark.parametrize("batch", [1, 3])
def test_hypotheses_fork_and_never_meet(experiment, tmp_path, options, start, batch):
    folder, theirs = experiment(**options)
    wanted = ["onnx"]
    export_bundle(
        folder, tmp_path / "bundle", ExportOptions(backends=wanted, batch=batch, start=start)
    )
    decoder = Decoder(load(tmp_path / "bundle")["decoder"])
    random = np.random.default_rng(1)
    context = None if options else decoder.graph.contract.inputs[-1].shape[1]
    with decoder.stream() as stream:
        alive = [((), stream.start())]
        for _ in range(40):
            # Some are forked, some dropped, all at lengths of their own.
            picked = [alive[i] for i in random.integers(0, len(alive), 5)]
            labels = random.integers(0, decoder.vocab_size, 5).tolist()
            outs, states = stream.step([state for _, state in picked], labels)
            grown = [(*fed, label) for (fed, _), label in zip(picked, labels, strict=True)]
            alive = [*zip(grown, states, strict=True), *alive][:8]
        for fed, out in zip(grown, outs, strict=True):
            want = expected(theirs, fed, start=start, context=context)[-1]
            assert np.abs(out - want).max() < 1e-5


@pytest.mark.parametrize("backend", BACKENDS)
def test_threads_with_a_stream_each(digits_bundle, backend):
    decoder = Decoder(load(digits_bundle, backend)["decoder"])
    fed = np.random.default_rng(2).integers(0, 14, (8, 60)).tolist()

    def run(labels):
        with decoder.stream() as stream:
            return decode(stream, labels)

    alone = [run(labels) for labels in fed]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(run, fed))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_memory_is_constant(digits_bundle):
    with Decoder(load(digits_bundle)["decoder"]).stream() as stream:
        state = stream.start()
        sizes = []
        tracemalloc.start()
        for number in range(1500):
            _, (state,) = stream.step([state], [number % 14])
            if number % 500 == 499:
                sizes.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
    assert max(sizes) - min(sizes) < 4096


def test_the_windows_are_not_copied(digits_bundle):
    graph = load(digits_bundle)["decoder"]
    seen = []
    run = graph.run
    graph.run = lambda inputs: (seen.append(inputs), run(inputs))[1]
    with Decoder(graph).stream() as stream:
        decode(stream, [0, 1, 2])
    first, second = ([x.ctypes.data for x in inputs[3:]] for inputs in seen[:2])
    moved = [b - a for a, b in zip(first, second, strict=True)]
    assert moved == [x.shape[-1] * 4 for x in seen[0][3:]]


class TestWhatIsRefused:
    @pytest.fixture
    def stream(self, digits_bundle):
        return Decoder(load(digits_bundle)["decoder"]).stream()

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            ([14], "label must be 0 to 13, got 14"),
            ([-1], "label must be 0 to 13, got -1"),
            ([1.0], "a label must be an int, got float"),
            ([True], "a label must be an int, got bool"),
            ([], "0 labels and 1 states"),
            ([1, 2], "2 labels and 1 states"),
        ],
    )
    def test_labels(self, stream, labels, message):
        state = stream.start()
        with pytest.raises(ContractError, match=message):
            stream.step([state], labels)
        # Nothing was changed: the state still gives what a new one gives.
        assert np.array_equal(stream.step([state], [3])[0], decode(stream, [3]))

    def test_nothing_to_feed(self, stream):
        with pytest.raises(ContractError, match="one or more states"):
            stream.step([], [])

    def test_a_state_that_is_in_no_list(self, stream):
        with pytest.raises(ContractError, match=r"expected a list of states.*got State and int"):
            stream.step(stream.start(), 1)

    def test_a_state_of_another_bundle(self, stream, digits_bundle):
        other = Decoder(load(digits_bundle, "torchscript")["decoder"]).stream().start()
        for wrong in (other, None):
            with pytest.raises(ContractError, match="another stream"):
                stream.step([stream.start(), wrong], [1, 1])

    def test_a_closed_stream(self, stream):
        state = stream.start()
        stream.close()
        for use in (stream.start, lambda: stream.step([state], [0])):
            with pytest.raises(ContractError, match="stream is closed"):
                use()

    def test_a_graph_that_is_no_decoder(self, digits_bundle):
        with pytest.raises(ContractError, match="'joint' is no decoder"):
            Decoder(load(digits_bundle)["joint"])


def test_decoding_on_onnx_needs_no_torch(digits_bundle):
    script = (
        "import sys, numpy as np; sys.modules['torch'] = None\n"
        "from deploy_bias.runtime import Decoder, Joint, load, open_search\n"
        f"graphs = load({str(digits_bundle.folder)!r})\n"
        "search = open_search('maes', Decoder(graphs['decoder']), Joint(graphs['joint']))\n"
        "search.accept(np.zeros((3, 96), np.float32)); print(search.results()[0].labels)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
