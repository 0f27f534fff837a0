"""The one interpreter of state: replace, append and count, by the contract alone."""

import subprocess
import sys

import numpy as np
import pytest

from deploy_bias.bundle.contract import (
    Append,
    Count,
    GraphContract,
    ModuleSpec,
    Replace,
    Rows,
    TensorSpec,
)
from deploy_bias.errors import ContractError
from deploy_bias.export.graphs.mega_decoder import FIRST_VALID
from deploy_bias.runtime.state import StateSpace

SIZE, ROWS = 2, 3


def spec(name, *shape, dtype="float32", rows=None):
    return TensorSpec(name=name, dtype=dtype, shape=shape, rows=rows)


def toy(batch, rows=None, count=None):
    """A graph of two replaced states, one along each axis, a window and its count."""
    new = spec("new", batch, SIZE) if rows is None else spec("new", batch, 9, SIZE, rows=rows)
    return GraphContract(
        name="toy",
        kind="toy",
        module=ModuleSpec(type="Toy", weights=""),
        inputs=(
            spec("x", batch, 1, dtype="int64"),
            spec("total", batch, 1),
            spec("layers", 2, batch, SIZE),
            spec("window", batch, ROWS, SIZE),
            spec("valid", batch, dtype="int64"),
        ),
        outputs=(spec("next_total", batch, 1), spec("next_layers", 2, batch, SIZE), new),
        state=(
            Replace(input="total", output="next_total", initial=-1e38),
            Replace(input="layers", output="next_layers", batch_axis=1),
            Append(input="window", output="new"),
            count or Count(input="valid", output=None if rows is None else "new", limit=ROWS),
        ),
    )


def run(x, total, layers, window, valid):
    """Compute a step of the toy: all of it shows in the outputs."""
    seen = np.arange(ROWS) >= ROWS - valid[:, None]
    total = np.where(total < 0, 0, total) + x + (window[..., 0] * seen).sum(1, keepdims=True)
    layers = layers + np.stack([x, -x]).astype(np.float32)
    return [total.astype(np.float32), layers, np.repeat(total, SIZE, 1).astype(np.float32)]


class TestSteps:
    def test_a_graph_with_any_state_runs(self):
        space = StateSpace(toy(1))
        state, totals = space.start(), []
        for number in (1, 2, 3, 4, 5):
            own = {"x": np.array([[number]])}
            outputs = run(*space.feed([state], own))
            (state,) = space.after([state], own, outputs)
            totals.append(float(outputs[0][0, 0]))
        # By hand: a total is the total before, x, and the last three totals.
        assert totals == [1, 4, 12, 33, 87]
        assert space.inputs([state])["valid"].tolist() == [3]
        assert space.inputs([state])["layers"][:, 0, 0].tolist() == [15, -15]

    def test_hypotheses_of_a_batch_equal_single_ones(self):
        alone, together = StateSpace(toy(1)), StateSpace(toy(3))
        singles = [alone.start() for _ in range(3)]
        batch = [together.start() for _ in range(3)]
        for step in range(6):
            numbers = [step, 10 * step, 100 - step]
            for lane, number in enumerate(numbers):
                own = {"x": np.array([[number]])}
                outputs = run(*alone.feed([singles[lane]], own))
                (singles[lane],) = alone.after([singles[lane]], own, outputs)
            own = {"x": np.array(numbers)[:, None]}
            batch = together.after(batch, own, run(*together.feed(batch, own)))
        for single, one in zip(singles, batch, strict=True):
            expected = alone.inputs([single])
            got = together.inputs([one, one, one])
            assert np.array_equal(got["window"][0], expected["window"][0])
            assert np.array_equal(got["total"][0], expected["total"][0])
            assert np.array_equal(got["layers"][:, :1], expected["layers"])

    def test_a_state_is_a_value_that_forks(self):
        space = StateSpace(toy(1))
        (before,) = space.after(*feed(space, space.start(), 7))
        (left,) = space.after(*feed(space, before, 1))
        (right,) = space.after(*feed(space, before, 2))
        assert space.inputs([left])["window"][0, -2:, 0].tolist() == [7, 15]
        assert space.inputs([right])["window"][0, -2:, 0].tolist() == [7, 16]
        assert space.inputs([before])["window"][0, -1, 0] == 7

    def test_windows_are_not_copied(self):
        space = StateSpace(toy(1))
        state = space.start()
        first = space.inputs([state])["window"]
        (state,) = space.after(*feed(space, state, 1))
        assert np.shares_memory(space.inputs([state])["window"], first)

    def test_genuine_rows_alone_are_appended_and_counted(self):
        rows = Rows(input="x", offset=2, stride=3)
        space = StateSpace(toy(1, rows))
        new = np.arange(18, dtype=np.float32).reshape(1, 9, SIZE)
        outputs = [np.zeros((1, 1), np.float32), np.zeros((2, 1, SIZE), np.float32), new]
        for x, window, valid in ((1, [0, 0, 0], 0), (8, [0, 0, 2], 2), (29, [12, 14, 16], 3)):
            (state,) = space.after([space.start()], {"x": np.array([[x]])}, outputs)
            inputs = space.inputs([state])
            assert inputs["window"][0, :, 0].tolist() == window
            assert inputs["valid"].tolist() == [valid]

    def test_float64_for_a_reference_and_the_whole_batch(self):
        space = StateSpace(toy(3), whole=True, floating=np.float64)
        inputs = space.inputs([space.start()])
        assert inputs["window"].dtype == np.float64
        assert inputs["window"].shape == (3, ROWS, SIZE)
        assert inputs["total"].tolist() == [[-1e38]] * 3
        given = {**inputs, "window": inputs["window"] + 5, "valid": np.array([2, 2, 2])}
        again = space.inputs([space.read(given)])
        assert (again["window"] == 5).all()
        assert again["valid"].tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("start", "limit", "restart_at", "expected"),
    [
        ("espnet", 3, None, [1, 2, 3, 3, 3, 3]),
        ("clean", 3, None, [0, 1, 2, 3, 3, 3]),
        # A chunk of four: ESPnet keeps the last row for the next chunk, forward keeps none.
        ("espnet", 3, 4, [1, 2, 3, 1, 2, 3, 1]),
        ("clean", 3, 4, [0, 1, 2, 3, 0, 1, 2, 3, 0]),
        ("espnet", 1, 2, [1, 1, 1, 1]),
        ("clean", 1, 2, [0, 1, 0, 1]),
    ],
)
def test_counts_of_a_mega_decoder(start, limit, restart_at, expected):
    count = Count(input="valid", initial=FIRST_VALID[start], limit=limit, restart_at=restart_at)
    space = StateSpace(toy(1, count=count))
    state, counts = space.start(), []
    for _ in expected:
        counts.append(int(space.inputs([state])["valid"][0]))
        (state,) = space.after(*feed(space, state, 0))
    assert counts == expected


def test_a_rule_about_nothing_is_told():
    contract = toy(1)
    broken = Replace(input="total", output="gone")
    contract = contract.model_copy(update={"state": (broken,)})
    with pytest.raises(ContractError, match=r"'total' is made of 'gone'.*outputs next_total"):
        StateSpace(contract)


def test_a_host_needs_no_torch():
    code = "import sys, deploy_bias.runtime.state; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def feed(space, state, number):
    """The arguments of `after` once a number was fed."""
    own = {"x": np.array([[number]])}
    return [state], own, run(*space.feed([state], own))
