"""Modules that change their own buffers: these are state, from what they hold at first."""

import pytest
import torch
from torch import nn

from deploy_bias.errors import OptionError
from deploy_bias.testing import ParityError, assert_export_parity

SCRIPT = {"backends": ["torchscript"], "steps": 3}


class Stream(nn.Module):
    """A convolution over what came before, too, and a count of the calls."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(4, 5, 3)
        self.register_buffer("past", torch.ones(1, 4, 2))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        whole = torch.cat([self.past, x], -1)
        self.past = whole[..., -2:]
        self.calls += 1
        return self.conv(whole) / self.calls


class Forgetful(Stream):
    """A trace that loses what is before."""

    def forward(self, x):
        if torch.jit.is_tracing():
            self.past = torch.ones(1, 4, 2)
        return super().forward(x)


X = torch.randn(1, 4, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("backend", ["torchscript", "onnx"])  # ExecuTorch is in the zoo
def test_what_forward_changes_is_carried_from_step_to_step(backend):
    module = Stream()
    report = assert_export_parity(module, X, backends=[backend], steps=3)
    example = [case for case in report.results[0].cases if case.case == "example"]
    assert {case.output for case in example} == {"output", "next_past", "next_calls"}
    assert {case.steps for case in example} == {3}
    assert module.calls == 0  # the caller's own is as it was


def test_what_is_forgotten_shows_from_the_second_step_on():
    with pytest.raises(ParityError) as error:
        assert_export_parity(Forgetful(), X, **SCRIPT)
    (result,) = error.value.report.results
    (case,) = (c for c in result.cases if (c.case, c.output) == ("example", "output"))
    assert case.errors[0] < 1e-6
    assert case.errors[1] > 1e-2


def test_cases_of_ones_own_do_not_say_the_state():
    report = assert_export_parity(Stream(), X, cases={"mine": [(X,), (2 * X,)]}, **SCRIPT)
    assert "mine" in {case.case for case in report.results[0].cases}


def test_a_part_of_the_module_may_remember():
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.stream = Stream()

        def forward(self, past):
            return {"y": self.stream(past)}

    report = assert_export_parity(Outer(), X, **SCRIPT)
    outputs = {case.output for case in report.results[0].cases}
    assert outputs == {"y", "next_stream_past", "next_stream_calls"}


def test_a_table_that_is_filled_once_is_no_state():
    class Table(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("cos", torch.zeros(0), persistent=False)

        def forward(self, x):
            if len(self.cos) < x.shape[-1]:
                self.cos = torch.arange(x.shape[-1]).cos()
            return x * self.cos

    report = assert_export_parity(Table(), X, backends=["torchscript"])
    assert {case.output for case in report.results[0].cases} == {"output"}


class Growing(Stream):
    def forward(self, x):
        self.past = torch.cat([self.past, x], -1)
        return self.past.sum(-1)


@pytest.mark.parametrize(
    ("module", "options", "message"),
    [
        (Growing(), {}, "changes the shape or dtype of the module's own past"),
        (
            torch.jit.script(Stream()),
            {},
            "changes the module's own (past|calls), .* of a module that is not scripted",
        ),
        (Stream(), {"reference": lambda x: x}, "remembers past, calls .* has no past"),
        (Stream(), {"artifacts": [lambda x: x]}, "cannot be set to the start of a case"),
        (
            Stream(),
            {"dynamic_shapes": ({2: torch.export.Dim("time", min=1, max=9)},)},
            "dynamic_shapes: forward changes the module's own past, calls; take it as an input",
        ),
    ],
    ids=["growing", "scripted", "a function for reference", "a file", "dynamic"],
)
def test_what_cannot_be_carried(module, options, message):
    with pytest.raises(OptionError, match=message):
        assert_export_parity(module, X, backends=["torchscript"], **options)


def test_steps_without_state():
    with pytest.raises(OptionError, match="steps=3 without state"):
        assert_export_parity(nn.Linear(3, 2), X[..., :3], **SCRIPT)
