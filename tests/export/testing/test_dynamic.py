"""Dynamic shapes: the exports are proven at the least, the greatest and odd sizes."""

import pytest
import torch
from torch import nn
from torch.export import Dim

from deploy_bias.errors import OptionError
from deploy_bias.export.testing.dynamic import DynamicShapes
from deploy_bias.export.testing.flat import flatten_inputs
from deploy_bias.testing import ParityError, assert_export_parity

BATCH, TIME = Dim("batch", min=1, max=7), Dim("time", min=2, max=21)
SHAPES = {"x": {0: BATCH, 1: TIME}, "scale": {0: BATCH}}
SIZES = ["the least sizes", "the greatest sizes", "odd sizes", "the least batch", "the least time"]


class Pool(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.norm = nn.Linear(6, 4), nn.LayerNorm(4)

    def forward(self, x, scale):
        return self.norm(self.linear(x)).mean(1), x.sum(1) * scale


class Baked(Pool):
    """A trace holds the size of the example."""

    def forward(self, x, scale):
        y, z = super().forward(x, scale)
        return y * (5 if torch.jit.is_tracing() else x.shape[1]), z


EXAMPLE = (torch.randn(3, 5, 6), torch.randn(3, 6))


def cases_of(report):
    return {case.case for case in report.results[0].cases}


def sizes(shapes, example=EXAMPLE, module=None):
    module = module or Pool()
    tensors, structure = flatten_inputs(module, example, "example")
    return DynamicShapes(module, shapes, tensors, structure)


@pytest.mark.parametrize("backend", ["torchscript", "onnx", "executorch"])
def test_each_backend_at_each_size(backend):
    report = assert_export_parity(Pool(), EXAMPLE, dynamic_shapes=SHAPES, backends=[backend])
    assert cases_of(report) >= {"example", *SIZES}
    assert not report.refused


def test_a_size_that_was_baked_in_shows_at_the_others():
    with pytest.raises(ParityError) as error:
        assert_export_parity(Baked(), EXAMPLE, dynamic_shapes=SHAPES, backends=["torchscript"])
    failed = {c.case for c in error.value.report.results[0].cases if not c.passed}
    assert failed == set(SIZES)
    assert assert_export_parity(Baked(), EXAMPLE, backends=["torchscript"]).passed


class TestFiles:
    def test_dynamic_and_static(self, tmp_path):
        torch.manual_seed(0)
        module = Pool().eval()
        for name, shapes in {"dynamic": SHAPES, "static": None}.items():
            program = torch.onnx.export(
                module, EXAMPLE, dynamo=True, dynamic_shapes=shapes, verbose=False
            )
            program.save(tmp_path / f"{name}.onnx")
        options = {"dynamic_shapes": SHAPES, "artifacts": [tmp_path / "dynamic.onnx"]}
        assert cases_of(assert_export_parity(module, EXAMPLE, **options)) >= set(SIZES)
        options["artifacts"] = [tmp_path / "static.onnx"]
        with pytest.raises(ParityError) as error:
            assert_export_parity(module, EXAMPLE, **options)
        assert error.value.report.results[0].problem == (
            "is no export of this module: its input x (float32, (3, 5, 6)) differs from the "
            "module's x (float32, (batch, time, 6))"
        )


def test_state_has_the_size_of_its_case():
    class Cell(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = nn.GRUCell(4, 5)

        def forward(self, x, hidden):
            return self.cell(x, hidden)

    report = assert_export_parity(
        Cell(),
        (torch.randn(2, 4), torch.zeros(2, 5)),
        dynamic_shapes={"x": {0: BATCH}, "hidden": {0: BATCH}},
        state={"hidden": "output"},
        steps=3,
        backends=["onnx"],
    )
    (odd,) = (case for case in report.results[0].cases if case.case == "odd sizes")
    assert odd.steps == 3


class TestSizes:
    def test_bounds_of_dims(self):
        tried = sizes(SHAPES).tried()
        assert tried == {
            "the least sizes": {"batch": 1, "time": 2},
            "the greatest sizes": {"batch": 7, "time": 21},
            "odd sizes": {"batch": 5, "time": 13},
            "the least batch": {"batch": 1, "time": 21},
            "the least time": {"batch": 7, "time": 2},
        }

    def test_without_bounds(self):
        tried = sizes({"x": {1: Dim("time")}, "scale": None}).tried()
        assert [found["time"] for found in tried.values()] == [1, 11, 7]

    def test_derived_dims(self):
        half = Dim("half", min=1, max=9)
        shapes = sizes({"x": (None, 2 * half + 1, None), "scale": {}})
        assert shapes.shapes({"half": 4})["x"] == (3, 9, 6)
        assert shapes.tried()["the greatest sizes"] == {"half": 9}

    def test_hints_of_one_size_are_one(self):
        shapes = sizes(({0: Dim.DYNAMIC, 1: Dim.DYNAMIC(min=2, max=8)}, {0: Dim.AUTO}))
        assert shapes.shapes({"x_0": 9, "x_1": 4}) == {"x": (9, 4, 6), "scale": (9, 6)}
        assert shapes.tried()["the greatest sizes"] == {"x_0": 7, "x_1": 8}

    def test_nested_arguments(self):
        class Nested(nn.Module):
            def forward(self, pair, *, more):
                return pair["a"] + more[0]

        a = torch.randn(2, 3)
        example = {"pair": {"a": a, "b": a}, "more": [a]}
        shapes = sizes({"pair": {"a": {0: BATCH}}, "more": [{0: BATCH}]}, example, Nested())
        assert shapes.shapes({"batch": 5}) == {"pair_a": (5, 3), "pair_b": (2, 3), "more_0": (5, 3)}

    @pytest.mark.parametrize(
        ("shapes", "message"),
        [
            (3, "expected a dict of x, scale as torch.export takes it, got 3"),
            ({"y": {0: BATCH}}, "expected a dict of x, scale as torch.export takes it, got 'y'"),
            (({0: BATCH},), "expected 2, for x, scale, got 1"),
            ({"x": {3: BATCH}}, "x: expected a dict by axis .0 to 2. or 3 dimensions"),
            ({"x": {0: 1.5}}, "x: expected a torch.export.Dim"),
            ({"x": None}, "no dimension is dynamic"),
            ({"x": {0: Dim("b", min=4, max=8)}}, "example_inputs: b is 3, and .* says 4 to 8"),
            ({"x": {0: BATCH, 1: BATCH}}, r"x would be \(3, 3, 6\), and is \(3, 5, 6\)"),
        ],
    )
    def test_what_does_not_fit(self, shapes, message):
        with pytest.raises(OptionError, match=message):
            sizes(shapes)


class TestMisuse:
    def test_sizes_that_the_module_does_not_take(self):
        class Fixed(nn.Module):
            def forward(self, x):
                return x.view(3, 2) * 2

        with pytest.raises(OptionError, match="the module itself takes none of the least sizes, "):
            assert_export_parity(
                Fixed(), torch.ones(3, 2), dynamic_shapes=({0: BATCH},), backends=["torchscript"]
            )

    @pytest.mark.parametrize(
        ("batch", "message"), [(8, "batch is 8, and .* 1 to 7"), (2, "scale must be .*(2, 6).")]
    )
    def test_a_case_out_of_bounds(self, batch, message):
        case = (torch.ones(batch, 4, 6), torch.ones(3 if batch == 2 else batch, 6))
        with pytest.raises(OptionError, match=message):
            assert_export_parity(Pool(), EXAMPLE, dynamic_shapes=SHAPES, cases={"mine": case})

    def test_executorch_wants_the_greatest_size(self):
        with pytest.raises(ParityError, match="ExecuTorch plans its memory for the greatest size"):
            assert_export_parity(
                Pool(),
                EXAMPLE,
                dynamic_shapes={"x": {1: Dim.DYNAMIC}, "scale": None},
                backends=["executorch"],
            )


def test_a_case_of_another_size():
    case = (torch.randn(2, 9, 6), torch.randn(2, 6))
    options = {"dynamic_shapes": SHAPES, "cases": {"mine": case}, "backends": ["torchscript"]}
    assert "mine" in cases_of(assert_export_parity(Pool(), EXAMPLE, **options))
