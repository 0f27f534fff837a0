"""What is allowed by name, what differs when it is run twice, and what ends in time."""

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from deploy_bias.errors import OptionError
from deploy_bias.export.parity.proof import Proof
from deploy_bias.export.reports import html, junit, markdown
from deploy_bias.export.testing.module_graph import ModuleGraph
from deploy_bias.testing import Allowed, ParityError, assert_export_parity

ONNX = {"backends": ["onnx"]}


class LogSigmoid(nn.Module):
    """torch.onnx takes the logarithm of a sigmoid that is 0: -inf below -100."""

    def forward(self, x):
        return F.logsigmoid(x), x + 1


X = torch.linspace(-3, 3, 8)[None]


class TestAllowed:
    def test_a_case_is_left_out_and_every_report_says_so(self):
        allow = {"large": Allowed(None, because="ours is between -80 and 80")}
        report = assert_export_parity(LogSigmoid(), X, allow=allow, **ONNX)
        (line,) = report.remarks
        assert line == ("allowed by name: large left out, because ours is between -80 and 80")
        assert line in markdown.render("x", report, ())
        assert line in junit.render("x", report, ())
        assert line in html.render("x", report, ())
        assert report.to_dict()["deviations"][0]["because"] == "ours is between -80 and 80"
        (case,) = (case for case in report.results[0].cases if case.allowed)
        assert (case.case, case.output, case.passed) == ("large", "output_0", True)

    def test_what_nothing_needs_any_more_fails(self):
        allow = {"tiny": Allowed(1e-3, because="an old runtime")}
        with pytest.raises(ParityError, match=r"tiny off by up to 0.001, .*; nothing needs that"):
            assert_export_parity(nn.Linear(8, 2), X, backends=["torchscript"], allow=allow)

    def test_a_distance_is_kept_to(self):
        class Off(nn.Module):
            def __init__(self, by):
                super().__init__()
                self.by = by

            def forward(self, x):
                return torch.tanh(x) + self.by

        def host(x):
            return [Off(2e-3)(torch.from_numpy(x)).numpy()]

        def compare(error):
            return assert_export_parity(
                Off(0.0),
                X,
                backends=[],
                artifacts=[host],
                allow={"output": Allowed(error, because="eight bits")},
            )

        assert compare(3e-3).passed
        with pytest.raises(ParityError, match=r"output: error 0\.002"):
            compare(1e-3)

    @pytest.mark.parametrize(
        ("allow", "message"),
        [
            ({"huge": Allowed(1.0, because="x")}, "allow: 'huge' is not among example, normal"),
            ({"large": 1.0}, "expected an Allowed, got float"),
            ({"large": Allowed(1.0, because=" ")}, "say because="),
            ({"large": Allowed(-1.0, because="x")}, "expected a distance above 0"),
            ([1], "expected a dict by name"),
        ],
    )
    def test_what_cannot_be_meant(self, allow, message):
        with pytest.raises(OptionError, match=message):
            assert_export_parity(nn.Linear(8, 2), X, backends=["torchscript"], allow=allow)


def graph_of(module):
    return ModuleGraph(module, X, state={}, cases={}, steps=None, reference=None, ranges={}, seed=0)


def test_bits_that_differ_when_it_is_run_again_are_told():
    graph = graph_of(nn.Tanh())
    calls = 0

    def unsteady(inputs):
        nonlocal calls
        calls += 1
        return {"output": torch.tanh(inputs["input"]) * (1 + 1e-8 * calls)}

    results = Proof(graph, again=True).judge(unsteady)
    assert all(result.passed for result in results)
    assert 0 < max(result.unsteady for result in results if result.case == "example") < 1e-6


def test_what_the_time_is_not_enough_for_is_left_out_by_name():
    report = assert_export_parity(nn.Linear(8, 2), X, backends=["torchscript"], max_seconds=1e-9)
    assert {case.case for case in report.results[0].cases} == {"example"}
    (line,) = report.remarks
    assert line.startswith("not run, for the time was over: normal, zeros, ones")


def test_the_share_that_was_decided_is_told():
    report = assert_export_parity(nn.Linear(8, 2), X, backends=["torchscript"])
    assert {case.decided for case in report.results[0].cases if case.case == "example"} == {1.0}
    assert "| 100 % |" in markdown.render("x", report, ())


def test_an_operator_that_executorch_lacks_is_named():
    class Sort(nn.Module):
        def forward(self, x):
            return torch.sort(x, descending=True).values

    with pytest.raises(ParityError, match=r"no kernel for aten::sort\.values"):
        assert_export_parity(Sort(), torch.randn(3, 8), backends=["executorch"])


def test_no_line_but_its_own_and_no_warning_where_these_are_errors():
    code = (
        "import torch; from deploy_bias.testing import assert_export_parity\n"
        "backends = ['onnx', 'executorch']\n"
        "assert_export_parity(torch.nn.Linear(8, 2), torch.randn(1, 8), backends=backends)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
