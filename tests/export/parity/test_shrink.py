"""A failing case is shown as the smallest that still fails."""

import pytest
import torch

from deploy_bias.export.graph import Step
from deploy_bias.export.parity.shrink import MOST_STEPS, describe, shrink


def steps_of(*values, **more):
    return [Step({"x": torch.tensor(value), **more}) for value in values]


def test_steps_that_do_not_matter_are_dropped():
    steps = steps_of(*([float(number)] for number in range(1, 41)))
    small = shrink(steps, lambda tried: any(step.inputs["x"] == 23 for step in tried))
    assert [step.inputs["x"].item() for step in small] == [23]


def test_steps_that_need_each_other_stay_in_order():
    steps = steps_of(*([float(number)] for number in range(1, 31)))

    def fails(tried):
        values = [step.inputs["x"].item() for step in tried]
        return 7 in values and 20 in values[values.index(7) :]

    assert [step.inputs["x"].item() for step in shrink(steps, fails)] == [7, 20]


def test_elements_that_do_not_matter_become_zero():
    step = Step({"x": torch.arange(1.0, 101.0).view(4, 25), "y": torch.ones(3)})
    (small,) = shrink([step], lambda tried: tried[0].inputs["x"][2, 7] == 58)
    assert small.inputs["x"].count_nonzero() == 1
    assert small.inputs["x"][2, 7] == 58
    assert not small.inputs["y"].any()


def test_integers_become_the_least_that_was_given():
    step = Step({"tokens": torch.tensor([5, 3, 9, 4])})
    (small,) = shrink([step], lambda tried: tried[0].inputs["tokens"][2] == 9)
    assert small.inputs["tokens"].tolist() == [3, 3, 9, 3]


def test_the_state_of_a_step_and_the_steps_given_are_left_alone():
    steps = [Step({"x": torch.ones(2)}, "save"), Step({"x": torch.ones(2)}, "restore")]
    small = shrink(steps, lambda tried: [step.state for step in tried] == ["save", "restore"])
    assert [step.state for step in small] == ["save", "restore"]
    assert not small[0].inputs["x"].any()
    assert steps[0].inputs["x"].all()


def test_it_gives_up_after_so_many_steps_and_still_returns_what_fails():
    run = []

    def fails(tried):
        run.extend(tried)
        return len(tried) == 100

    steps = steps_of(*([1.0] for _ in range(100)))
    assert len(shrink(steps, fails)) == 100
    assert len(run) <= MOST_STEPS


@pytest.mark.parametrize(
    ("inputs", "shown"),
    [
        ({"x": torch.zeros(2, 2)}, "all zero"),
        ({"x": torch.tensor([[0.0, 0.5]]), "n": torch.tensor(3)}, "x[0, 1] = 0.5, n[] = 3"),
        ({"x": torch.tensor([float("nan"), 0.0])}, "x[0] = nan"),
        (
            {"x": torch.tensor([1.0, 2.0, float("inf"), 4.0, -5.0, 0.0])},
            "x[0] = 1.0, x[1] = 2.0, x[2] = inf, x[3] = 4.0, ... "
            "(5 of 6 elements not zero; finite: -5.0 to 4.0)",
        ),
    ],
    ids=["zeros", "few", "not a number", "many"],
)
def test_a_step_is_shown_by_what_is_not_zero(inputs, shown):
    assert describe(Step(inputs)) == shown
