"""The reports: read back by other readers, of what passed and of what failed."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from junitparser import Error, Failure, JUnitXml

from deploy_bias import RelativePositionBias
from deploy_bias.bundle import Bundle
from deploy_bias.errors import OptionError
from deploy_bias.export import ExportOptions, export_bundle, verify
from deploy_bias.export.backends import onnx as onnx_exporter
from deploy_bias.export.parity.results import (
    Agreement,
    CaseResult,
    GraphResult,
    Report,
    Smallest,
    StageResult,
    WrongOperator,
)
from deploy_bias.export.reports import FORMATS, check_paths, write_reports
from deploy_bias.export.reports.baseline import Growth
from tests.export.unproven import UnprovenGate

WORST = {"step": 1, "index": [0, 3], "got": "1.5", "eager": "1.0", "float64": "1.01"}
STAGES = (
    StageResult("eager rewrite", 1e-7, True),
    StageResult("edge <dialect>", 0.5, False),
    StageResult("delegate", float("inf"), False, "RuntimeError: a | b"),
)
AGREEMENT = Agreement("recorded", 100, 98, 0.02, True, 0.99, 0.05, "logits")


def case(name="rollout", output="decoder_out", passed=True, **changes) -> CaseResult:
    error = 0.25e-6 if passed else 0.5
    return CaseResult(
        **{
            "case": name,
            "steps": 3,
            "output": output,
            "error": error,
            "eager_error": 1e-7,
            "error_by_eager": 4 * error / 1e-6,
            "budget": 1e-6,
            "worst": WORST,
            "passed": passed,
            "errors": (0.0, error, error / 2),
            **changes,
        }
    )


WRONG = WrongOperator("aten.gelu.default", "Gelu", "m.py:7: gelu(x)", "act (GELU)", WORST, 2e-6)
FAILED = case(
    output="new_keys",
    passed=False,
    stages=STAGES,
    smallest=Smallest(1, WORST, ("label = 3",)),
    wrong=WRONG,
)
REPORT = Report(
    (
        GraphResult("decoder", "onnx", "fp32", "decoder.onnx", (case(), FAILED)),
        GraphResult("decoder", "executorch", "fp32", "model.pte", (case(),)),
        GraphResult("joint", "onnx", "int8", "joiner.int8.onnx", (), AGREEMENT),
        GraphResult("bias", "onnx", "fp32", "b.onnx", (), problem="bad \x00<b>&amp; `x`\n*y*"),
        GraphResult("bias", "executorch", "fp32", "b.pte", (case("one", "y", errors=(1e-8,)),)),
    ),
    without=("torchscript",),
)
GROWTH = Growth("decoder in model.pte", "undelegated operators", 3, 5, 3)
PASSED = Report((GraphResult("decoder", "onnx", "fp32", "decoder.onnx", (case(),)),))


def rendered(suffix, report=REPORT, growths=(GROWTH,)) -> str:
    return FORMATS[suffix].render("my <bundle>", report, growths)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory) -> Report:
    """What `verify` finds of a bias whose ONNX file is shifted by one."""
    folder = tmp_path_factory.mktemp("faulty") / "bias"
    with pytest.MonkeyPatch.context() as patch:
        layout = onnx_exporter.toeplitz_by_repeat
        patch.setattr(
            onnx_exporter, "toeplitz_by_repeat", lambda d, q, k: layout(d, q, k).roll(1, 1)
        )
        patch.setattr("deploy_bias.export.bundle.Gate", UnprovenGate)
        export_bundle(
            RelativePositionBias(12), folder, ExportOptions(backends=["onnx", "torchscript"])
        )
    return verify(Bundle(folder), attribute=True)


class TestPaths:
    @pytest.mark.parametrize("name", ["report.txt", "report", "report.HTML", "junit.xml.gz"])
    def test_an_unknown_suffix(self, name):
        with pytest.raises(OptionError, match=r"ends in \.xml, \.md, \.json, \.html"):
            check_paths([Path("junit.xml"), Path(name)])

    def test_a_folder(self, tmp_path):
        (tmp_path / "x.md").mkdir()
        with pytest.raises(OptionError, match=r"cannot be written \(Is a directory\)"):
            check_paths([tmp_path / "x.md"])

    def test_folders_are_made(self, tmp_path):
        write_reports([tmp_path / "a" / "b.md", tmp_path / "c.xml"], "t", PASSED)
        assert (tmp_path / "a" / "b.md").read_text().startswith("## Export parity of t: passed")


class TestJUnit:
    @pytest.fixture
    def suites(self, tmp_path):
        (tmp_path / "j.xml").write_text(rendered(".xml"))
        return {suite.name: suite for suite in JUnitXml.fromfile(str(tmp_path / "j.xml"))}

    def test_a_suite_for_each_backend_and_precision(self, suites):
        counts = {n: (s.tests, s.failures, s.errors, s.skipped) for n, s in suites.items()}
        assert counts == {
            "onnx fp32": (3, 1, 1, 0),
            "executorch fp32": (2, 0, 0, 0),
            "onnx int8": (1, 1, 0, 0),
            "torchscript": (1, 0, 0, 1),
            "baseline": (1, 1, 0, 0),
        }

    def test_a_case_for_each_output(self, suites):
        first, second, third = suites["onnx fp32"]
        assert (first.classname, first.name) == ("decoder", "rollout: decoder_out")
        assert first.is_passed
        ((failure,), (error,)) = (second.result, third.result)
        assert isinstance(failure, Failure)
        assert "step 1, new_keys[0, 3]: got 1.5" in failure.message
        assert "first wrong in edge <dialect>" in failure.message
        assert isinstance(error, Error)
        assert error.message.startswith("bad ?<b>&amp; `x`")

    def test_labels_and_growths(self, suites):
        ((labels,), (grown,)) = (suites["onnx int8"], suites["baseline"])
        assert "98 of 100" in labels.result[0].message
        assert "undelegated operators 3 → 5, at most 3 allowed" in grown.result[0].message

    def test_the_totals(self):
        root = ElementTree.fromstring(rendered(".xml").encode())
        assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("8", "3", "1")

    def test_of_a_bundle(self, faulty):
        root = ElementTree.fromstring(rendered(".xml", faulty, ()).encode())
        onnx, torchscript = root
        assert int(onnx.get("failures")) > 5
        assert torchscript.get("failures") == torchscript.get("errors") == "0"
        assert len(torchscript) == len(onnx) > 10


class TestMarkdown:
    def test_what_failed_comes_before_the_table(self):
        text = rendered(".md")
        assert text.startswith("## Export parity of my \\<bundle\\>: FAILED\n")
        assert text.index("### decoder on onnx, fp32") < text.index("| graph |")
        assert "| edge <dialect> | 5.0e-01 | **wrong** |" in text
        assert "RuntimeError: a \\| b" in text
        assert "Smallest failing case, 1 step: got 1.5" in text
        assert (
            "First wrong operator: aten.gelu.default (Gelu), act (GELU) in m.py:7: gelu(x)." in text
        )
        assert "There at [0, 3]: got 1.5, eager 1.0, float64 1.01; 2.0e-06 is allowed." in text
        assert "undelegated operators 3 → 5" in text
        assert "bytes 2 %" in text

    def test_a_table_of_all(self):
        rows = [line for line in rendered(".md").splitlines() if line.startswith("| decoder")]
        assert rows == [
            "| decoder | onnx fp32 | 2 | 100 % | 5.0e-01 | 2000000.00 | - | **FAIL** |",
            "| decoder | executorch fp32 | 1 | 100 % | 2.5e-07 | 1.00 | - | pass |",
        ]

    def test_what_passed_is_short(self):
        assert rendered(".md", PASSED, ()).count("\n") == 7

    def test_what_was_left_out_is_told(self):
        assert "\nLeft out by name: torchscript.\n" in rendered(".md")

    def test_growth_alone_is_a_failure(self):
        assert "FAILED" in rendered(".md", PASSED)


class TestJson:
    def test_it_is_parity_json_and_what_grew(self):
        content = json.loads(rendered(".json"), parse_constant=pytest.fail)
        assert content["results"] == REPORT.to_dict()["results"]
        assert content["growths"] == [
            {
                "subject": "decoder in model.pte",
                "measure": "undelegated operators",
                "before": 3,
                "now": 5,
                "allowed": 3,
            }
        ]


class _Page(HTMLParser):
    """Collects tags, attributes and text."""

    def __init__(self, text):
        super().__init__()
        self.attributes, self.text, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.attributes += [(tag, *attribute) for attribute in attributes]
        self.open.append(tag)

    def handle_data(self, data):
        self.text.append(data)


class TestHtml:
    @pytest.mark.parametrize("report", [REPORT, PASSED])
    def test_it_is_self_contained(self, report):
        text = rendered(".html", report)
        links = {"href", "src", "srcset", "action", "xlink:href"}
        found = [(t, n, v) for t, n, v in _Page(text).attributes if n in links]
        assert all(value.startswith("#") for _, _, value in found)
        # Names of XML's vocabularies, which nothing fetches.
        rest = re.sub(r'xmlns(:\w+)?="[^"]*"', "", text)
        assert "http" not in rest
        assert "@import" not in rest
        assert not re.search(r"url\((?!#)", rest)

    def test_a_line_for_each_backend_of_a_rollout(self):
        page = _Page(rendered(".html"))
        keys = [v for t, n, v in page.attributes if (t, n) == ("span", "style")]
        # The decoder's two and the bias' one; onnx is the first of a graph if it was checked.
        assert keys == ["--key: #0072b2", "--key: #d55e00", "--key: #0072b2"]
        words = {word.strip() for word in page.text}
        assert {"rollout", "step", "error / budget", "one step each"} <= words

    def test_stages_and_the_smallest_case(self):
        text = " ".join(" ".join(_Page(rendered(".html")).text).split())
        assert "edge <dialect> 5.0e-01" in text
        assert "delegate failed" in text
        assert "Smallest failing case of new_keys , 1 step: got 1.5" in text
        assert "First wrong operator of new_keys : aten.gelu.default (Gelu), act (GELU) in" in text
        assert "label = 3" in text
        assert "my <bundle> FAILED" in text
        assert "Left out by name: torchscript." in text

    def test_what_others_wrote_is_escaped(self):
        assert "<b>&amp;" not in rendered(".html")
        assert "&lt;b&gt;&amp;amp;" in rendered(".html")

    def test_of_a_bundle(self, faulty):
        text = " ".join(" ".join(_Page(rendered(".html", faulty, ())).text).split())
        assert "What failed" in text
        assert "ONNX unoptimised" in text
        assert "bias.onnx" in text
        assert "not finite" in text

    def test_it_is_the_same_every_time(self):
        assert rendered(".html") == rendered(".html")
