"""`assert_export_parity` for modules of any kind; on TorchScript, where any backend will do."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from deploy_bias.errors import BackendError, OptionError
from deploy_bias.export.testing.stress import DRAWS
from deploy_bias.testing import ParityError, assert_export_parity
from tests.export.testing.models import random_model

SCRIPT = {"backends": ["torchscript"]}


class Off(nn.Module):
    """Wrong by a half where the fourth input is more than 2, from the third step on."""

    def forward(self, x, count):
        late = (count > 2).float()
        return x.sum(-1) + 0.5 * (x[:, 3] > 2).float() * late, count + 1


class Right(nn.Module):
    def forward(self, x, count):
        return x.sum(-1), count + 1


def offending():
    x = torch.ones(1, 6)
    x[0, 3] = 3.0
    return [(x, torch.zeros(1))] * 6


class TestWhatIsShown:
    @pytest.fixture(scope="class")
    def error(self):
        with pytest.raises(ParityError) as error:
            assert_export_parity(
                Off(),
                (torch.ones(1, 6), torch.zeros(1)),
                state={"count": "output_1"},
                reference=Right(),
                cases={"recorded": offending()},
                steps=3,
                **SCRIPT,
            )
        return error.value

    def test_is_an_assertion_error(self, error):
        assert isinstance(error, AssertionError)

    def test_names_backend_output_step_element_and_the_three_values(self, error):
        lines = [line.split() for line in str(error).splitlines()]
        assert lines[0] == ["Off", "on", "torchscript:", "1", "of", "2", "outputs", "differ"]
        assert "in case 'recorded' at step 3 of 6" in str(error)
        assert ["torchscript", "3.5"] in lines
        assert ["eager", "3.5"] in lines
        assert ["float64", "3.0"] in lines

    def test_shows_the_smallest_case(self, error):
        (case,) = (case for case in error.report.results[0].cases if case.smallest)
        assert case.case == "recorded"
        assert case.smallest.steps == 4  # the count must be past 2: no step less will do
        *before, last = case.smallest.inputs
        assert before == ["all zero"] * 3
        assert last == "x[0, 3] = 3.0"

    def test_shows_the_first_stage(self, error):
        assert "first wrong in eager (eager 0.5, " in str(error)


@pytest.mark.parametrize("seed", range(10))
def test_sound_models_pass(seed):
    module, inputs, options = random_model(seed)
    backends = [("torchscript", "onnx", "executorch")[seed % 3]]
    report = assert_export_parity(module, inputs, seed=seed, backends=backends, **options)
    assert report.passed


class TestInputs:
    def test_by_name_and_nested(self):
        class Nested(nn.Module):
            def forward(self, x, others, *, scale):
                return {"sum": x + others["a"][0] + others["b"], "scaled": (x * scale,)}

        ones = torch.ones(2)
        inputs = {"x": ones, "others": {"a": [ones], "b": ones}, "scale": ones}
        report = assert_export_parity(Nested(), inputs, **SCRIPT)
        assert {case.output for case in report.results[0].cases} == {"sum", "scaled_0"}

    def test_stress_cases_are_run(self):
        report = assert_export_parity(nn.Linear(3, 2), torch.ones(1, 3), **SCRIPT)
        assert {case.case for case in report.results[0].cases} == {"example", *DRAWS}

    def test_a_stress_case_that_eager_refuses_is_left_out(self):
        class Picky(nn.Module):
            def forward(self, x):
                if not torch.jit.is_tracing() and (x.abs() > 100).any():
                    raise ValueError("too large")
                return x * 2

        report = assert_export_parity(Picky(), torch.ones(1, 3), **SCRIPT)
        names = {case.case for case in report.results[0].cases}
        assert "large" not in names
        assert "normal" in names

    def test_integers_stay_in_the_range_that_the_example_shows(self):
        embedding = nn.Embedding(10, 4)
        assert assert_export_parity(embedding, torch.tensor([0, 9]), **SCRIPT).passed

    @pytest.mark.parametrize(
        ("inputs", "options", "message"),
        [
            ((1.0,), {}, "example_inputs: input must be a tensor, got float"),
            ((torch.ones(3).double(),), {}, "fails on its example inputs, .* Double and Float"),
            ((torch.ones(1, 3), torch.ones(1)), {}, "forward takes 1 arguments"),
            ((torch.ones(1, 3),), {"state": {"x": "output"}}, "'x' is not among input"),
            ((torch.ones(1, 3),), {"state": {"input": "y"}}, "'y' is not among output"),
            ((torch.ones(1, 3),), {"state": {"input": "output"}}, r"float32 \(1, 3\) to replace"),
            ((torch.ones(1, 3),), {"ranges": {"x": (0, 1)}}, "ranges: 'x': 'x' is not among"),
            ((torch.ones(1, 3),), {"cases": {"a": torch.ones(3)}}, "cases: 'a', step 0: input"),
            ((torch.ones(1, 3),), {"steps": 0}, "steps: expected a number of at least 1"),
        ],
    )
    def test_what_does_not_fit(self, inputs, options, message):
        with pytest.raises(OptionError, match=message):
            assert_export_parity(nn.Linear(3, 2), inputs, **SCRIPT, **options)

    def test_an_unknown_backend(self):
        with pytest.raises(BackendError, match="'tflite' is unknown"):
            assert_export_parity(nn.Linear(3, 2), torch.ones(1, 3), backends=["tflite"])

    @pytest.mark.parametrize("backends", ["onnx", []])
    def test_backends_that_are_no_names(self, backends):
        with pytest.raises(OptionError, match="backends: expected some names"):
            assert_export_parity(nn.Linear(3, 2), torch.ones(1, 3), backends=backends)


class Layer(nn.Module):
    """A linear layer and a buffer, and a function of both and the input."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.linear = nn.Linear(3, 3)
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x):
        return self.function(self, x)


class TestFunctions:
    """A graph is a function of its inputs; what is none is refused before it is compared."""

    @pytest.mark.parametrize(
        ("function", "message"),
        [
            (
                lambda m, x: nn.functional.dropout(m.linear(x), training=True),
                "is another each time",
            ),
            (lambda m, x: x + torch.rand_like(x), "is another each time"),
            (lambda m, x: x.add_(1) * 2, "changes its input x in place"),
            (lambda m, x: m.linear.weight.mul_(2) @ x.T, "changes the module's own linear.weight,"),
            (lambda m, x: x / 0 - x / 0, "output holds no finite number"),
        ],
        ids=["dropout", "random", "input", "parameter", "nan"],
    )
    def test_what_is_none(self, function, message):
        x = torch.ones(2, 3)
        with pytest.raises(OptionError, match=message):
            assert_export_parity(Layer(function), x, **SCRIPT)
        assert (x == 1).all()

    @pytest.mark.parametrize(
        "function",
        [
            lambda m, x: x > 0,
            lambda m, x: m.linear(x).argmax(-1),
            lambda m, x: (m.linear(x), (x * 3).to(torch.int32)),
            lambda m, x: x,
        ],
        ids=["flags", "labels", "integers", "nothing"],
    )
    def test_what_is_one(self, function):
        backends = ["torchscript", "onnx", "executorch"]
        assert assert_export_parity(Layer(function), torch.randn(4, 3), backends=backends).passed

    @pytest.mark.parametrize(
        ("function", "other"),
        [
            (lambda m, x: x > 0, lambda m, x: x > 0.1),
            (lambda m, x: x.argmax(-1), lambda m, x: (-x).argmax(-1)),
            (lambda m, x: (x * 50).long(), lambda m, x: (x * 50).long() + 1),
        ],
        ids=["flags", "labels", "integers"],
    )
    def test_flags_and_integers_are_equal_or_wrong(self, function, other):
        torch.manual_seed(0)
        with pytest.raises(ParityError, match="first wrong in eager"):
            assert_export_parity(
                Layer(function), torch.randn(9, 3), reference=Layer(other), **SCRIPT
            )


class TestSums:
    """Eager adds in pairs and ExecuTorch one number after the other: both are sound."""

    @pytest.mark.parametrize(
        "function",
        [
            lambda m, x: x.mean((1, 2)),
            lambda m, x: nn.functional.adaptive_avg_pool2d(x, 1),
            lambda m, x: x.flatten().cumsum(0),
            lambda m, x: x.std((1, 2)),
            lambda m, x: x.flatten(1).norm(dim=1),
        ],
        ids=["mean", "pool", "cumsum", "std", "norm"],
    )
    def test_both_pass(self, function):
        module = Layer(function)
        assert assert_export_parity(module, torch.randn(2, 30, 40), backends=["executorch"]).passed

    def test_a_number_that_is_left_out_does_not(self):
        with pytest.raises(ParityError):
            assert_export_parity(
                Layer(lambda m, x: x.mean(-1)),
                torch.randn(2, 1200),
                reference=Layer(lambda m, x: x[:, 1:].sum(-1) / 1200),
                **SCRIPT,
            )


class TestFailures:
    def test_what_cannot_be_exported_fails_and_the_others_are_checked(self):
        class Branching(nn.Module):
            def forward(self, x):
                return x + 1 if x.sum() > 0 else x - 1

        with pytest.raises(ParityError) as error:
            assert_export_parity(Branching(), torch.ones(2), backends=["onnx", "torchscript"])
        onnx, script = error.value.report.results
        assert onnx.problem.startswith("failed to export: ")
        assert "\x1b" not in onnx.problem
        # The trace has one branch only, which other inputs show.
        assert {case.case for case in script.cases if not case.passed} >= {"zeros", "large"}

    def test_a_backend_that_is_not_installed_fails_unless_it_is_left_out(self):
        code = (
            "import sys; sys.modules['onnxruntime'] = None\n"
            "import torch; from deploy_bias.testing import assert_export_parity\n"
            "module, x = torch.nn.Linear(3, 2), torch.ones(1, 3)\n"
            "print(assert_export_parity(module, x, backends=['torchscript']).passed)\n"
            "assert_export_parity(module, x, backends=['torchscript', 'onnx'])"
        )
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout.split() == ["True"]
        assert "Linear on onnx: not checked: backend 'onnx' needs onnxruntime" in done.stderr

    def test_a_float64_that_has_nothing_to_do_with_it_decides_nothing(self):
        with pytest.raises(ParityError, match="first wrong in eager"):
            assert_export_parity(
                nn.Linear(3, 2), torch.ones(1, 3), reference=nn.Linear(3, 2), **SCRIPT
            )
