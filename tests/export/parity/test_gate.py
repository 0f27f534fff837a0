"""The gate is only worth what it catches: each fault here must turn it red."""

import hashlib
import json
import shutil
import subprocess
import sys

import pytest
import torch

from deploy_bias import RelativePositionBias, RotaryRelativePositionBias
from deploy_bias.bundle import Bundle
from deploy_bias.export import verify
from deploy_bias.export.backends import onnx as onnx_exporter
from deploy_bias.export.graphs.bias import WindowModule
from deploy_bias.export.parity.judge import Truth, judge
from deploy_bias.export.parity.results import CaseResult, GraphResult, Report
from deploy_bias.model.bias.toeplitz import toeplitz, toeplitz_by_gather

EXACT = torch.tensor([[[1.0, -2.0], [0.5, 4.0]]], dtype=torch.float64)
EAGER = EXACT.float()


HALF_UNIT = torch.finfo(torch.float32).eps / 2
LIMIT = 1e-6


def judged(got, eager, exact, yardstick=1.0):
    return judge(got, Truth(eager, exact), yardstick, LIMIT)


class TestJudge:
    def test_equal_passes(self):
        found = judged(EAGER, EAGER, EXACT)
        assert found["passed"]
        assert found["error"] == 0

    def test_the_yardstick_is_eagers_error_by_half_a_unit_of_the_largest_value(self):
        eager = EAGER + torch.tensor([[[0.0, 2.0**-20], [0.0, 0.0]]])
        assert Truth(eager, EXACT).yardstick == 2.0**-20 / (4 * HALF_UNIT)
        assert Truth(EAGER, EXACT).yardstick == 1

    def test_the_budget_is_four_times_the_yardstick(self):
        unit = 2.0**-22  # of the last place of 2
        near = EAGER + torch.tensor([[[0.0, 4 * unit], [0.0, 0.0]]])
        far = EAGER + torch.tensor([[[0.0, 5 * unit], [0.0, 0.0]]])
        yardstick = unit / (4 * HALF_UNIT)
        assert judged(near, EAGER, EXACT, yardstick)["passed"]
        found = judged(far, EAGER, EXACT, yardstick)
        assert not found["passed"]
        assert found["worst"]["step"] == 0
        assert found["worst"]["index"] == [0, 1]
        assert found["error_by_eager"] == 5

    def test_the_error_of_every_step_is_kept(self):
        exact = torch.ones(3, 2, dtype=torch.float64)
        got = exact.float()
        got[1, 0] += 0.5
        got[2, 1] = torch.nan
        found = judged(got, exact.float(), exact)
        assert found["errors"] == (0.0, 0.5, float("inf"))
        assert (found["worst"]["step"], found["worst"]["index"]) == (2, [1])

    def test_where_rounding_alone_moves_the_output_it_may_move(self):
        exact = torch.ones(2, 1, dtype=torch.float64)
        near = exact + torch.tensor([[0.0], [1e-3]])
        got = exact.float() + torch.tensor([[0.0], [3e-3]])
        truth = Truth(exact.float(), exact, [near])
        assert judge(got, truth, 1.0, LIMIT)["passed"]
        assert not judge(got.flip(0), truth, 1.0, LIMIT)["passed"]  # at the other step it does not

    def test_what_rounding_alone_makes_infinite_decides_nothing(self):
        exact = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
        near = torch.tensor([[torch.inf, 2.0]], dtype=torch.float64)
        truth = Truth(exact.float(), exact, [near])
        assert judge(torch.tensor([[torch.nan, 2.0]]), truth, 1.0, LIMIT)["passed"]
        assert not judge(torch.tensor([[1.0, torch.nan]]), truth, 1.0, LIMIT)["passed"]

    def test_an_eager_module_that_is_wrong_is_no_excuse(self):
        wrong = EAGER + torch.tensor([[[1e-3, 0.0], [0.0, 0.0]]])
        yardstick = Truth(wrong, EXACT).yardstick
        assert not judged(wrong, wrong, EXACT, yardstick)["passed"]
        assert not judged(EAGER, wrong, EXACT, yardstick)["passed"]

    def test_subnormal_values_may_be_flushed_to_zero(self):
        exact = torch.tensor([1e-40], dtype=torch.float64)
        assert judged(torch.zeros(1), exact.float(), exact)["passed"]
        exact = torch.tensor([1e-37], dtype=torch.float64)
        assert not judged(torch.zeros(1), exact.float(), exact)["passed"]

    @pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
    def test_what_should_be_finite(self, bad):
        got = EAGER.clone()
        got[0, 0, 1] = bad
        found = judged(got, EAGER, EXACT)
        assert not found["passed"]
        assert found["worst"]["index"] == [0, 1]

    @pytest.mark.parametrize("special", [torch.nan, torch.inf, -torch.inf])
    @pytest.mark.parametrize("got", [torch.nan, torch.inf, -torch.inf, 0.0])
    def test_what_should_not_be_finite_must_be_the_same(self, special, got):
        exact, eager, found = EXACT.clone(), EAGER.clone(), EAGER.clone()
        exact[0, 0, 0], eager[0, 0, 0], found[0, 0, 0] = special, special, got
        same = str(special) == str(got)
        assert judged(found, eager, exact)["passed"] == same

    def test_another_shape_or_dtype(self):
        with pytest.raises(RuntimeError, match=r"output is torch.float32 \(2, 2\)"):
            judged(EAGER[0], EAGER, EXACT)
        with pytest.raises(RuntimeError, match=r"torch\.float16"):
            judged(EAGER.half(), EAGER, EXACT)


def transposed(layout):
    return lambda diagonals, q, k: layout(diagonals, q, k).flip(0).flip(1)


def transposed_for_script(diagonals: torch.Tensor, q: int, k: int) -> torch.Tensor:
    return toeplitz(diagonals, q, k).flip(0).flip(1)


def shifted(layout):
    return lambda diagonals, q, k: layout(diagonals, q, k).roll(1, 1)


def cut_at_the_edge(layout):
    def cut(diagonals, q, k):
        edge = torch.ones_like(diagonals)
        edge[0] = 0
        return layout(diagonals * edge, q, k)

    return cut


def one_value_off_by_a_percent(layout):
    def off(diagonals, q, k):
        factor = torch.ones_like(diagonals)
        factor[5] = 1.01
        return layout(diagonals * factor, q, k)

    return off


def half_in_the_middle(layout):
    return lambda diagonals, q, k: layout(diagonals.half().float(), q, k)


FAULTS = [transposed, shifted, cut_at_the_edge, one_value_off_by_a_percent, half_in_the_middle]
BIASES = [RelativePositionBias(24), RotaryRelativePositionBias(8, 24)]


class TestFaults:
    """Known-bad graphs, exported with a right label and right hashes."""

    @pytest.mark.parametrize("fault", FAULTS)
    @pytest.mark.parametrize("bias", BIASES, ids=["simple", "rotary"])
    def test_a_faulty_graph(self, tmp_path, monkeypatch, export_unproven, fault, bias):
        monkeypatch.setattr(
            onnx_exporter, "toeplitz_by_repeat", fault(onnx_exporter.toeplitz_by_repeat)
        )
        report = verify(export_unproven(bias, tmp_path / "b", backends=["onnx", "torchscript"]))
        assert {r.backend: r.passed for r in report.results} == {"onnx": False, "torchscript": True}
        failed = report.results[0].worst
        assert failed.first_stage == "eager rewrite"
        assert [found.stage for found in failed.stages] == [
            "eager",
            "eager rewrite",
            "ExportedProgram",
            "ONNX unoptimised",
            "ONNX optimised",
        ]
        assert failed.smallest.steps == 1
        assert failed.smallest.inputs == ("all zero",)
        assert report.results[0].why.endswith("; first wrong in eager rewrite")

    @pytest.mark.parametrize(
        ("backend", "layout", "fault"),
        [
            ("executorch", "toeplitz_by_gather", transposed(toeplitz_by_gather)),
            ("torchscript", "toeplitz", transposed_for_script),
        ],
    )
    def test_a_faulty_graph_of_another_backend(
        self, tmp_path, monkeypatch, export_unproven, backend, layout, fault
    ):
        monkeypatch.setattr(f"deploy_bias.export.backends.{backend}.{layout}", fault)
        report = verify(export_unproven(BIASES[1], tmp_path / "b", backends=[backend, "onnx"]))
        assert {r.backend: r.passed for r in report.results} == {backend: False, "onnx": True}

    @pytest.mark.parametrize("backend", ["executorch", "torchscript"])
    def test_a_fault_that_a_new_export_does_not_have_is_the_files(
        self, tmp_path, monkeypatch, export_unproven, backend
    ):
        with monkeypatch.context() as patch:
            patch.setattr(WindowModule, "forward", lambda self, scores: scores + 0.5)
            bundle = export_unproven(BIASES[0], tmp_path / "b", backends=[backend])
        (result,) = verify(bundle).results
        last = {"executorch": "delegate", "torchscript": "TorchScript"}[backend]
        assert result.worst.first_stage == result.worst.stages[-1].stage == last

    @pytest.mark.parametrize("bias", BIASES, ids=["simple", "rotary"])
    def test_an_addition_left_out(self, tmp_path, monkeypatch, export_unproven, bias):
        class Forgetful(WindowModule):
            def forward(self, scores):
                return scores + 0.0

        monkeypatch.setattr("deploy_bias.export.graphs.bias.WindowModule", Forgetful)
        assert not verify(export_unproven(bias, tmp_path / "b", backends=["onnx"])).passed


@pytest.fixture(scope="module")
def report(digits_bundle):
    """What was found of the shipped model."""
    with pytest.MonkeyPatch.context() as patch:
        # Nothing is exported again where nothing failed: that would take longer than all else.
        for backend in ("executorch", "onnx", "torchscript"):
            patch.delattr(f"deploy_bias.export.backends.{backend}.stages")
        return verify(digits_bundle)


class TestReport:
    @pytest.fixture
    def copy(self, small_bundle, tmp_path):
        return shutil.copytree(small_bundle.folder, tmp_path / "copy")

    def test_a_sound_bundle(self, report):
        assert report.passed
        assert [(r.graph, r.backend) for r in report.results] == [
            (graph, backend)
            for backend in ("executorch", "onnx", "torchscript")
            for graph in ("frontend", "encoder", "bias", "decoder", "joint")
        ]
        cases = {case.case for case in report.results[2].cases}
        assert {"real", "zeros", "masked", "not finite", "subnormal", "stored real"} <= cases
        for case in (case for result in report.results for case in result.cases):
            assert len(case.errors) == case.steps
            assert case.errors[case.worst["step"]] == pytest.approx(case.error, rel=1e-2)
            assert not case.stages  # these cost exports

    def test_the_bias_graphs_only_move_and_add(self, report):
        # So they are as far from float64 as eager, to the bit.
        results = [r for r in report.results if r.graph == "bias"]
        assert len(results) == 3
        for result in results:
            assert all(case.error == case.eager_error for case in result.cases)

    def test_what_passed_is_attributed_on_request(self, dynamic_bundle):
        (result,) = verify(dynamic_bundle, attribute=True).results
        assert result.passed
        (case,) = (case for case in result.cases if case.stages)
        assert case is result.worst
        assert len(case.stages) == 5
        assert all(stage.passed for stage in case.stages)
        assert case.smallest is None

    def test_parity_json_is_json_and_does_not_change(self, report, digits_bundle):
        written = (digits_bundle.folder / "parity.json").read_text()

        def refuse(constant):
            raise AssertionError(constant)

        content = json.loads(written, parse_constant=refuse)
        assert content["passed"]
        # Those of each step are as much again: `verify --report x.json` has them.
        assert not any("errors" in case for r in content["results"] for case in r["cases"])
        assert report.to_json() == written

    def test_parity_json_is_json_where_errors_are_infinite(self):
        found = judged(torch.full_like(EAGER, torch.nan), EAGER, EXACT)
        case = CaseResult(case="x", steps=1, output="y", **found)
        report = Report((GraphResult("bias", "onnx", "fp32", "bias.onnx", (case,)),))
        (result,) = json.loads(report.to_json(), parse_constant=pytest.fail)["results"]
        assert result["cases"][0]["error"] == "inf"
        assert not result["passed"]

    @pytest.mark.parametrize(
        ("path", "message", "others"),
        [
            ("bias.onnx", "was changed or cut", {}),
            (
                "decoder.onnx",
                "was changed or cut",
                {"joint": "not checked: its labels need the graph decoder, which could not be"},
            ),
        ],
    )
    def test_a_broken_artifact_does_not_hide_the_others(self, copy, path, message, others):
        (copy / path).write_bytes(b"x")
        report = verify(Bundle(copy), without=["executorch"])
        failed = {r.graph: r for r in report.results if not r.passed}
        assert {r.backend for r in failed.values()} == {"onnx"}
        expected = {path.removesuffix(".onnx"): message, **others}
        assert failed.keys() == expected.keys()
        for graph, text in expected.items():
            assert text in failed[graph].why
        json.loads(report.to_json())

    def test_stored_vectors_are_checked_too(self, copy):
        from safetensors.numpy import load_file, save

        vectors = load_file(copy / "vectors.safetensors")
        vectors["bias/real/biased_scores"][0, 0, 3, 3] += 1e-3
        data = save(vectors)
        (copy / "vectors.safetensors").write_bytes(data)
        manifest = json.loads((copy / "manifest.json").read_text())
        manifest["vectors"]["sha256"] = hashlib.sha256(data).hexdigest()
        (copy / "manifest.json").write_text(json.dumps(manifest))
        report = verify(Bundle(copy), without=["executorch", "torchscript"])
        assert {r.graph for r in report.results if not r.passed} == {"bias"}
        assert all("'stored real'" in r.why for r in report.results if r.graph == "bias")

    def test_a_bundle_without_vectors_is_not_checked_in_full(self, copy):
        from safetensors.numpy import save

        data = save({})
        (copy / "vectors.safetensors").write_bytes(data)
        manifest = json.loads((copy / "manifest.json").read_text())
        manifest["vectors"] |= {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        (copy / "manifest.json").write_text(json.dumps(manifest))
        report = verify(Bundle(copy))
        assert not any(r.passed for r in report.results)
        assert all(f"no test vectors for {r.graph}" in r.why for r in report.results)

    def test_changed_weights_do_not_pass_for_the_exported_ones(self, copy):
        from safetensors.numpy import load_file, save

        weights = load_file(copy / "weights.safetensors")
        weights["decoder.embed.weight"][3, 5] *= 1.01
        data = save(weights)
        (copy / "weights.safetensors").write_bytes(data)
        manifest = json.loads((copy / "manifest.json").read_text())
        manifest["weights"]["sha256"] = hashlib.sha256(data).hexdigest()
        (copy / "manifest.json").write_text(json.dumps(manifest))
        report = verify(Bundle(copy))
        assert not any(r.passed for r in report.results)
        assert "weights_sha256 differs" in report.results[0].why

    def test_a_backend_that_is_not_installed_is_not_checked_and_fails(self, small_bundle):
        code = (
            "import sys; sys.modules['onnxruntime'] = None\n"
            "from deploy_bias.bundle.bundle import Bundle\nfrom deploy_bias.export import verify\n"
            f"bundle = Bundle({str(small_bundle.folder)!r})\n"
            "report = verify(bundle, without=['executorch'])\n"
            "print(sorted({(r.backend, r.passed) for r in report.results}))\n"
            "print([r.why for r in report.results if not r.passed])"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert "[('onnx', False), ('torchscript', True)]" in done.stdout
        assert "not checked: backend 'onnx' needs onnxruntime" in done.stdout
