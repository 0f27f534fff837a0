"""The cases of the gate: each of one kind, like the example, and the same for the same seed."""

import pytest
import torch

from deploy_bias.export.testing.stress import DRAWS, OF_INTEGERS, size_of, stress_cases

EXAMPLE = {"x": 3 * torch.randn(4, 6, generator=torch.Generator().manual_seed(0))}
SIZE = size_of(EXAMPLE["x"])
INTEGERS = {"x": torch.tensor([2, 9, 4])}


def cases(example=EXAMPLE, ranges=None, steps=2, seed=0):
    return stress_cases(example, ranges or {}, steps, seed)


def first(name, **arguments):
    return cases(**arguments)[name][0]["x"]


@pytest.mark.parametrize("name", DRAWS)
def test_every_case_has_the_shape_and_the_dtype_of_the_example(name):
    example = {"x": torch.randn(3, 5), "half": torch.randn(2).half(), "scalar": torch.tensor(2.0)}
    for step in cases(example)[name]:
        for key, tensor in step.items():
            assert tensor.shape == example[key].shape
            assert tensor.dtype == example[key].dtype


def test_each_case_is_of_its_kind():
    assert not first("zeros").any()
    assert (first("ones") == first("ones")[0, 0]).all()
    assert set(first("sign flips").sign().flatten().tolist()) == {-1, 1}
    assert (first("one-hot").count_nonzero(1) == 1).all()
    assert (first("one-hot").argmax(1) == torch.arange(4)).all()
    assert (first("repeated rows") == first("repeated rows")[0]).all()
    assert (first("a ramp").sort(-1).values.diff() > 0).all()
    assert (first("a ramp").std(-1) > 0.4 * first("a ramp").mean(-1)).all()


@pytest.mark.parametrize(("name", "magnitude"), [("normal", 1), ("large", 1e4), ("tiny", 1e-20)])
def test_the_magnitude_is_that_of_the_example(name, magnitude):
    assert 0.5 < size_of(first(name)) / (magnitude * SIZE) < 2


def test_subnormal_is_subnormal_whatever_the_example():
    tensor = first("subnormal")
    assert ((tensor > 0) & (tensor < torch.finfo(torch.float32).tiny)).all()


def test_what_varies_varies_from_step_to_step():
    for name in ("normal", "a constant", "sign flips", "one-hot", "a ramp", "repeated rows"):
        one, two = (step["x"] for step in cases()[name])
        assert not one.equal(two), name


def test_a_seed_says_all_that_is_random():
    for name, steps in cases(seed=3).items():
        for one, two in zip(steps, cases(seed=3)[name], strict=True):
            assert one["x"].equal(two["x"])
    assert not first("normal", seed=3).equal(first("normal", seed=4))


class TestIntegers:
    def test_no_case_that_says_nothing_of_them(self):
        assert set(cases(INTEGERS)) == set(OF_INTEGERS)

    def test_they_stay_within_what_the_example_shows(self):
        for name, steps in cases(INTEGERS, steps=20).items():
            found = torch.stack([step["x"] for step in steps])
            assert 2 <= found.min() <= found.max() <= 9, name

    def test_or_within_a_given_range_whose_ends_are_met(self):
        ranges = {"x": (0, 511)}
        assert (first("zeros", example=INTEGERS, ranges=ranges) == 0).all()
        assert (first("ones", example=INTEGERS, ranges=ranges) == 511).all()

    def test_the_first_of_a_masks_row_stays(self):
        masks = {"x": torch.tensor([[1, 1, 0, 0]] * 9), "y": torch.tensor([[False, True]] * 9)}
        for name, steps in cases(masks).items():
            assert (steps[0]["x"][:, 0] == 1).all(), name
            assert not steps[0]["y"][:, 0].any(), name
        assert not first("zeros", example=masks)[:, 1:].any()

    def test_flags_are_true_and_false(self):
        example = {"x": torch.tensor([True, True, True])}
        found = torch.stack([step["x"] for step in cases(example, steps=9)["normal"]])
        assert found.dtype == torch.bool
        assert found.any()
        assert not found.all()


@pytest.mark.parametrize(
    ("example", "size"),
    [
        (torch.tensor([3.0, 0.0, -4.0]), 12.5**0.5),
        (torch.tensor([2.0, float("inf"), float("nan")]), 2.0),
        (torch.zeros(3), 1.0),
    ],
    ids=["zeros are not counted", "nor what is not finite", "nothing"],
)
def test_the_size_is_the_root_mean_square(example, size):
    assert size_of(example) == pytest.approx(size)
