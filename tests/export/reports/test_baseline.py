"""A baseline: nothing gets worse unnoticed, and rounding is no alarm."""

import copy
import json

import pytest

from deploy_bias import RelativePositionBias
from deploy_bias.bundle import PARITY, Bundle
from deploy_bias.errors import OptionError
from deploy_bias.export import ExportOptions, export_bundle, verify
from deploy_bias.export.reports.baseline import growths, read_baseline

FP32, INT8, FILE = 0, 1, 0


@pytest.fixture
def baseline() -> dict:
    return {
        "passed": True,
        "without": [],
        "results": [
            {
                "graph": "decoder",
                "backend": "onnx",
                "precision": "fp32",
                "cases": [
                    {"case": "fork", "error_by_eager": 0.3},
                    {"case": "padding", "error_by_eager": 2.0},
                ],
                "agreement": None,
            },
            {
                "graph": "decoder",
                "backend": "onnx",
                "precision": "int8",
                "cases": [],
                "agreement": {"distance": 0.01},
            },
        ],
        "artifacts": [
            {
                "path": "model.pte",
                "bytes": 10_000,
                "operators": {
                    "decoder": {"delegated": {"linear": 4}, "undelegated": {"add": 2, "mul": 1}}
                },
            }
        ],
    }


@pytest.fixture
def now(baseline) -> dict:
    return copy.deepcopy(baseline)


def lines(baseline, now) -> list[str]:
    return [growth.why for growth in growths(baseline, now)]


def test_nothing_has_changed(baseline, now):
    assert lines(baseline, now) == []


@pytest.mark.parametrize(("error", "grown"), [(3.0, 0), (3.01, 1), (float("inf"), 1)])
def test_the_error_may_grow_by_half(baseline, now, error, grown):
    now["results"][FP32]["cases"][0]["error_by_eager"] = error
    found = lines(baseline, now)
    assert len(found) == grown
    if grown:
        assert found[0].startswith("decoder on onnx, fp32: error over eager's 2 → ")
        assert found[0].endswith(", at most 3 allowed")


def test_an_infinite_error_is_text_in_json(baseline, now):
    now["results"][FP32]["cases"][1]["error_by_eager"] = "inf"
    assert len(lines(baseline, now)) == 1
    now["results"][FP32]["cases"][1]["error_by_eager"] = "nan"
    assert len(lines(baseline, now)) == 1


def test_an_error_up_to_eagers_own_is_never_too_much(baseline, now):
    for content, error in ((baseline, 0.1), (now, 1.0)):
        content["results"][FP32]["cases"] = [{"case": "fork", "error_by_eager": error}]
    assert lines(baseline, now) == []
    now["results"][FP32]["cases"] = [{"case": "fork", "error_by_eager": 1.01}]
    assert len(lines(baseline, now)) == 1


def test_the_distance_of_a_quantised_graph(baseline, now):
    now["results"][INT8]["agreement"]["distance"] = 0.016
    assert lines(baseline, now) == [
        "decoder on onnx, int8: distance to eager 0.01 → 0.016, at most 0.015 allowed"
    ]


@pytest.mark.parametrize(("size", "grown"), [(10_200, 0), (10_201, 1), (5_000, 0)])
def test_the_size_may_grow_by_2_percent(baseline, now, size, grown):
    now["artifacts"][FILE]["bytes"] = size
    assert len(lines(baseline, now)) == grown


def test_one_more_operator(baseline, now):
    now["artifacts"][FILE]["operators"]["decoder"]["delegated"]["linear"] = 5
    assert lines(baseline, now) == [
        "decoder in model.pte: operators 7 → 8, at most 7 allowed",
    ]


def test_an_operator_that_the_delegate_takes_no_more(baseline, now):
    counts = now["artifacts"][FILE]["operators"]["decoder"]
    counts["delegated"]["linear"] = 3
    counts["undelegated"]["linear"] = 1
    assert lines(baseline, now) == [
        "decoder in model.pte: undelegated operators 3 → 4, at most 3 allowed"
    ]


def test_one_more_operator_where_there_is_no_delegate_is_one_line(baseline, now):
    for content, adds in ((baseline, 2), (now, 3)):
        counts = {"delegated": {}, "undelegated": {"Add": adds, "MatMul": 1}}
        content["artifacts"][FILE] = {
            "path": "decoder.onnx",
            "bytes": 10_000,
            "operators": {"decoder": counts},
        }
    assert lines(baseline, now) == [
        "decoder in decoder.onnx: operators 3 → 4, at most 3 allowed",
    ]


def test_what_is_not_checked_any_more_is_told_and_what_is_new_is_not(baseline, now):
    now["results"].append({**now["results"][INT8], "graph": "joint"})
    assert lines(baseline, now) == []
    del now["results"][FP32]
    assert lines(baseline, now) == [
        "decoder on onnx, fp32: error over eager's 2 in the baseline, and not checked now"
    ]


def test_a_case_that_is_not_run_any_more(baseline, now):
    del now["results"][FP32]["cases"][0]
    assert lines(baseline, now) == [
        "decoder on onnx, fp32, case 'fork': error over eager's 0.3 in the baseline, and not "
        "checked now"
    ]


def test_a_backend_that_is_left_out_by_name_is_not_missed(baseline, now):
    now["results"], now["without"] = [], ["onnx"]
    assert lines(baseline, now) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "not a parity.json of this version"),
        ('{"results": [{"graph": "x"}], "artifacts": []}', "not a parity.json of this version"),
        ('{"passed": true, "results": []}', "write it again"),
        ('{"passed": true, "results": [], "artifacts": []}', "holds no results"),
        (
            '{"passed": true, "results": [{"graph": "x", "backend": "onnx", "precision": "fp32", '
            '"cases": [{"case": "a", "error_by_eager": NaN}]}], "artifacts": []}',
            "holds NaN or infinity",
        ),
        ('{"passed": false, "results": [], "artifacts": []}', "did not pass"),
    ],
)
def test_what_is_no_baseline(tmp_path, text, message):
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(OptionError, match=message):
        read_baseline(tmp_path / "p.json")


def test_a_baseline_that_is_not_there(tmp_path):
    with pytest.raises(OptionError, match=r"No such file.*name a parity\.json"):
        read_baseline(tmp_path / "p.json")


def test_of_bundles(tmp_path):
    options = {"backends": ["onnx", "executorch"]}
    export_bundle(RelativePositionBias(24), tmp_path / "small", ExportOptions(**options))
    export_bundle(
        RelativePositionBias(512), tmp_path / "large", ExportOptions(key_length=512, **options)
    )
    before = read_baseline(tmp_path / "small" / PARITY)
    assert growths(before, verify(Bundle(tmp_path / "small")).to_dict()) == []
    found = growths(before, json.loads((tmp_path / "large" / PARITY).read_text()))
    assert {("bias.onnx", "bytes"), ("model.pte", "bytes")} <= {
        (g.subject, g.measure) for g in found
    }
