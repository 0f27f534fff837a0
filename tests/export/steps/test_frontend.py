"""The frontend as a graph: how far from float64, in eager torch and on the runtimes."""

import pytest
import torch

from deploy_bias.export.backends.executorch import _operators, lower
from deploy_bias.export.steps.frontend import FrontendStep
from deploy_bias.model.frontend import DefaultFrontend, UtteranceMVN
from tests.espnet.frontends import SETTINGS, digits, espnet_features, exact, pair, recordings
from tests.espnet.models import largest

ALLOWED = 4
"""How much farther from float64 than ESPnet's float32 a step may be."""


def stress():
    """Noise, silence, a jump, and a tone that drowns noise 80 dB below it in half the bands."""
    noise = 0.1 * torch.randn(1, 8000)
    tone = 0.9 * torch.sin(0.35 * torch.arange(8000)).unsqueeze(0)
    jump = torch.cat([torch.zeros(1, 4000), torch.ones(1, 4000)], 1)
    return [noise, torch.zeros(1, 8000), jump, tone + 1e-3 * noise]


def by_steps(step, samples, run=None):
    """Features (1, T, M) of a whole utterance (1, S), by as many steps as it takes."""
    edge = step.n_fft // 2
    signal = torch.nn.functional.pad(samples, (edge, edge), mode="reflect")
    total = (signal.size(1) - step.n_fft) // step.hop_length + 1
    signal = torch.nn.functional.pad(signal, (0, step.samples))
    starts = range(0, total * step.hop_length, step.frames * step.hop_length)
    features = [(run or step)(signal[:, start : start + step.samples]) for start in starts]
    return torch.cat(features, 1)[:, :total]


def worst(utterances, ours, theirs, normalize=None, run=None, frames=20):
    """The largest distances to float64 over utterances: of the step, and of ESPnet's float32."""
    step = FrontendStep(ours, normalize, frames)
    expected = [exact(ours, samples, normalize) for samples in utterances]
    pairs = list(zip(utterances, expected, strict=True))
    return (
        max(largest(by_steps(step, samples, run) - features) for samples, features in pairs),
        max(largest(espnet_features(*theirs, samples) - features) for samples, features in pairs),
    )


@pytest.mark.parametrize("setting", SETTINGS)
class TestAccuracy:
    @pytest.mark.parametrize("utterances", [recordings, stress])
    def test_as_near_to_float64_as_espnet(self, setting, utterances):
        ours, theirs = pair(**SETTINGS[setting])
        error, allowed = worst(utterances(), ours, (theirs,))
        assert error <= ALLOWED * allowed

    def test_the_same_function_in_float64(self, setting):
        ours = pair(**SETTINGS[setting])[0].double()
        step = FrontendStep(ours, None, 20)
        for samples in (*stress(), *recordings()[::3]):
            expected = ours(samples.double())
            torch.testing.assert_close(
                by_steps(step, samples.double()), expected, atol=1e-9, rtol=0
            )


def test_each_frame_sees_its_own_samples_alone():
    step = FrontendStep(DefaultFrontend(n_fft=256, hop_length=100), None, 6)
    samples = torch.randn(1, step.samples)
    alone = FrontendStep(DefaultFrontend(n_fft=256, hop_length=100), None, 1)
    for frame in range(6):
        expected = alone(samples[:, frame * 100 : frame * 100 + 256])
        torch.testing.assert_close(step(samples)[:, frame : frame + 1], expected)


def test_it_is_a_snapshot():
    (frontend, normalize), _ = digits()
    step = FrontendStep(frontend, normalize, 3)
    samples = torch.randn(1, step.samples)
    before = step(samples)
    frontend.logmel.melmat.fill_(1)
    normalize.mean.fill_(9)
    assert torch.equal(step(samples), before)
    assert not before.requires_grad


class TestRefusals:
    def test_a_normalisation_of_the_utterance(self):
        with pytest.raises(ValueError, match="utterance_mvn cannot stream: it needs the whole"):
            FrontendStep(DefaultFrontend(), UtteranceMVN(), 3)

    def test_frames_that_are_not_centred(self):
        with pytest.raises(ValueError, match="center must be true to stream"):
            FrontendStep(DefaultFrontend(center=False), None, 3)

    def test_no_frames(self):
        with pytest.raises(ValueError, match="frames must be at least 1, got 0"):
            FrontendStep(DefaultFrontend(), None, 0)


@pytest.fixture(
    scope="module",
    params=[digits, *(lambda o=SETTINGS[name]: pair(**o) for name in ("default", "recipe", "odd"))],
    ids=["digits", "default", "recipe", "odd"],
)
def case(request):
    """Our frontend and normalisation, ESPnet's, and the step."""
    ours, theirs = request.param()
    ours, theirs = (x if isinstance(x, tuple) else (x, None) for x in (ours, theirs))
    return ours, theirs, FrontendStep(*ours, 80)


class TestExports:
    """One rung after another: exported, on ONNX Runtime, TorchScript, ExecuTorch's XNNPACK."""

    def check(self, case, run):
        (frontend, normalize), (theirs, their_normalize), step = case

        def espnet(samples, lengths):
            features, lengths = theirs(samples, lengths)
            normalized = features if normalize is None else their_normalize(features, lengths)[0]
            return normalized, lengths

        error, allowed = worst(recordings(), frontend, (espnet,), normalize, run, step.frames)
        assert error <= ALLOWED * allowed

    def test_torch_export(self, case):
        step = case[-1]
        self.check(case, torch.export.export(step, step.example_inputs()).module())

    def test_torchscript(self, case):
        step = case[-1]
        self.check(case, torch.jit.freeze(torch.jit.trace(step, step.example_inputs())))

    def test_onnx_runtime(self, case, tmp_path):
        import onnxruntime

        path, step = tmp_path / "frontend.onnx", case[-1]
        torch.onnx.export(
            step, step.example_inputs(), dynamo=True, opset_version=20, verbose=False
        ).save(path)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (given,) = session.get_inputs()

        def run(samples):
            return torch.from_numpy(session.run(None, {given.name: samples.numpy()})[0])

        self.check(case, run)

    def test_executorch_xnnpack(self, case):
        from executorch.runtime import Runtime

        step = case[-1]
        edge = lower({"frontend": torch.export.export(step, step.example_inputs())}, {}, {})
        assert not _operators(edge.exported_program("frontend")).undelegated
        data = bytes(edge.to_executorch().buffer)
        program = Runtime.get().load_program(data)
        method = program.load_method("frontend")
        self.check(case, lambda samples: method.execute([samples.contiguous()])[0].clone())
