"""`evaluate`: word errors, speed and latency of each backend and precision."""

import json
import os
import sys

import numpy as np
import pytest
import soundfile

from deploy_bias.cli.recordings import read_manifest
from tests.espnet.frontends import DIGITS
from tests.espnet.speech import NAMES, samples_of

MANIFEST = DIGITS / "wavs" / "TRANSCRIPTS.tsv"


def test_the_shipped_recordings(run, digits_bundle, tmp_path):
    plot = tmp_path / "new" / "evaluation.png"
    status, out, err = run("evaluate", digits_bundle.folder, MANIFEST, "--json", "--plot", plot)
    assert status == 0
    assert plot.read_bytes()[:4] == b"\x89PNG"
    results = json.loads(out)["results"]
    assert {result["backend"] for result in results} == {"onnx", "executorch", "torchscript"}
    # A "two" is added, and "four four five" is "five oh".
    for found in results:
        assert found["precision"] == "fp32"
        assert found["words"] == 39
        assert (found["substitutions"], found["deletions"], found["insertions"]) == (2, 1, 1)
        assert found["word_error_rate"] == pytest.approx(4 / 39)
        assert found["seconds"] == pytest.approx(sum(samples_of(n).size for n in NAMES) / 8000)
        assert found["texts"] == results[0]["texts"]
        assert 0 < found["real_time_factor"] < 10
        ms = found["latency_ms"]
        assert 0 < ms["p50"] <= ms["p90"] <= ms["p99"]
    assert "recognise 8 recordings on onnx, fp32" in err


def test_int8_makes_no_more_errors(run, int8_bundle):
    """At most 0.5 % of the words: of 39, none."""
    _, out, _ = run("evaluate", int8_bundle.folder, MANIFEST, "--json")
    results = json.loads(out)["results"]
    assert [(r["backend"], r["precision"]) for r in results] == [
        ("executorch", "int8"),
        ("onnx", "int8"),
    ]
    for found in results:
        assert found["word_error_rate"] <= 4 / 39 + 0.005


def test_side_by_side_in_a_table(run, digits_bundle):
    options = ["--backend", "onnx, torchscript", "--precision", "fp32"]
    status, out, _ = run("evaluate", digits_bundle.folder, MANIFEST, *options)
    assert status == 0
    assert out.count("10.3%") == 2
    assert "executorch" not in out
    assert "39 words" in out


def test_without_a_lead_in(run, digits_bundle):
    """ESPnet's streaming drops first words: "three" is heard as "two eight" twice."""
    options = ["--backend", "onnx", "--lead-in", 0, "--json"]
    _, out, _ = run("evaluate", digits_bundle.folder, MANIFEST, *options)
    (found,) = json.loads(out)["results"]
    assert found["word_error_rate"] == pytest.approx(8 / 39)
    assert "two eight five five one" in found["texts"]
    assert found["seconds"] == pytest.approx(sum(samples_of(n).size for n in NAMES) / 8000)


def test_an_offline_bundle(run, offline_bundle):
    """Each recording is an utterance; a backend without its graphs is left out."""
    _, out, _ = run("evaluate", offline_bundle.folder, MANIFEST, "--json")
    (found,) = json.loads(out)["results"]
    assert found["backend"] == "onnx"
    assert found["word_error_rate"] == pytest.approx(4 / 39)
    status, _, err = run("evaluate", offline_bundle.folder, MANIFEST, "--backend", "torchscript")
    assert status == 2
    assert "no graph encoder for torchscript" in err


def test_a_manifest_of_two_columns(run, digits_bundle, tmp_path):
    soundfile.write(tmp_path / "a.wav", samples_of("digits_55"), 8000)
    manifest = tmp_path / "manifest.tsv"
    manifest.write_text("a.wav\tfive five\n\n")
    options = ["--backend", "onnx", "--json"]
    _, out, _ = run("evaluate", digits_bundle.folder, manifest, *options)
    (found,) = json.loads(out)["results"]
    assert found["word_error_rate"] == 0
    assert found["texts"] == ["five five"]


def test_a_recording_that_cannot_be_read_is_left_out(run, digits_bundle, tmp_path):
    soundfile.write(tmp_path / "a.wav", samples_of("digits_55"), 8000)
    soundfile.write(tmp_path / "b.wav", np.full(99, np.nan, np.float32), 8000, subtype="FLOAT")
    manifest = tmp_path / "manifest.tsv"
    manifest.write_text("a.wav\tfive five\nnone.wav\tone\nb.wav\tone\n")
    status, out, err = run("evaluate", digits_bundle.folder, manifest, "--backend", "onnx")
    assert status == 2
    assert "Recognition of 2 words, 2.4 s of audio" in out
    assert "none.wav: no such file" in err
    assert "b.wav: sample 0 of 99 is nan" in err
    assert "2 of 3 recordings left out" in err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file or directory; expected lines of a file"),
        (b"", "empty; expected lines of a file"),
        (b"\xff\xfe\t", "not UTF-8 text"),
        (b"none.wav\tone\n\t one\n", "line 2: expected a file, a tab and its words"),
        (b"none.wav one\n", "line 1: expected a file, a tab and its words"),
        (b"nowhere.wav\tone\n", "nowhere.wav: no such file"),
        (b"none.wav\tone\n", "hold no audio at all"),
    ],
)
def test_manifests_that_are_refused(run, digits_bundle, tmp_path, content, message):
    soundfile.write(tmp_path / "none.wav", np.zeros(0, np.float32), 8000)
    manifest = tmp_path / "manifest.tsv"
    if content is not None:
        manifest.write_bytes(content)
    status, _, err = run("evaluate", digits_bundle.folder, manifest, "--backend", "onnx")
    assert status == 2
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "content",
    [
        "\N{BYTE ORDER MARK}a.wav\tfive five\n",
        "a.wav\tfive five\r\n",
        "a.wav\tfive five\tone\n",
        "a.wav\tfive\u2028five\n",
        "a.wav\tfive\x0cfive\n",
        "a.wav\tfive\x0bfive\n",
        "a.wav\tfive\x85five\n",
        "a.wav\tfive\rfive\n",
    ],
    ids=repr,
)
def test_only_newlines_end_a_line(tmp_path, content):
    (tmp_path / "manifest.tsv").write_bytes(content.encode())
    (found,) = read_manifest(tmp_path / "manifest.tsv")
    assert found.file == tmp_path / "a.wav"
    assert found.words.split() == ["five", "five"]


def evaluated(run, bundle, tmp_path, lines, *options):
    soundfile.write(tmp_path / "a.wav", samples_of("digits_55"), 8000)
    (tmp_path / "manifest.tsv").write_text(lines)
    arguments = [tmp_path / "manifest.tsv", "--backend", "onnx", *options]
    status, out, err = run("evaluate", bundle.folder, *arguments, "--json")
    (found,) = json.loads(out)["results"]
    return status, found, err


def test_words_as_people_write_them(run, digits_bundle, tmp_path):
    """By a stated rule, and only when asked."""
    line = "a.wav\tFive,  five!\n"
    _, found, _ = evaluated(run, digits_bundle, tmp_path, line)
    assert found["word_error_rate"] == 1
    _, found, _ = evaluated(run, digits_bundle, tmp_path, line, "--normalize")
    assert found["word_error_rate"] == 0


def test_no_words_count_what_is_inserted(run, digits_bundle, tmp_path):
    _, found, _ = evaluated(run, digits_bundle, tmp_path, "a.wav\t\na.wav\tfive five\n")
    assert (found["words"], found["insertions"], found["word_error_rate"]) == (2, 2, 1)
    _, found, _ = evaluated(run, digits_bundle, tmp_path, "a.wav\t\n")
    assert (found["words"], found["insertions"], found["word_error_rate"]) == (0, 2, None)
    arguments = ["--backend", "onnx", "--plot", tmp_path / "x.png"]
    status, out, _ = run("evaluate", digits_bundle.folder, tmp_path / "manifest.tsv", *arguments)
    assert status == 0
    assert "Recognition of 0 words" in out


def test_one_recording_never_ends_the_others(run, digits_bundle, tmp_path):
    """Nor does a line of a library reach the standard error."""
    both = np.full((999, 2), np.inf, np.float32) * [1, -1]
    soundfile.write(tmp_path / "inf.wav", both, 8000, subtype="FLOAT")
    soundfile.write(tmp_path / "slow.wav", np.zeros(99), 999)
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    wrong = [
        ("inf.wav", "sample 0 of 800 is nan"),
        ("slow.wav", "sample_rate must be 1000 to 768000"),
        ("folder", "is a directory"),
        ("loop", "too many levels of symbolic links"),
        ("pipe", "a pipe only once; save it first"),
        ("x" * 300, "file name too long"),
        ("nul\0.wav", "embedded null byte"),
    ]
    lines = "".join(f"{name}\tone\n" for name, _ in wrong)
    status, found, err = evaluated(run, digits_bundle, tmp_path, f"{lines}a.wav\tfive five\n")
    assert status == 2
    assert found["texts"] == ["five five"]
    told = [line for line in err.splitlines() if not line.startswith(("✓", " "))]
    for line, (_, message) in zip(told, wrong, strict=False):
        assert line.startswith("error: ")
        assert message in line
    assert told[len(wrong) :] == ["error: 7 of 8 recordings left out"]


@pytest.mark.parametrize("place", ["folder", "file/x.png"])
def test_a_plot_that_cannot_be_written_is_told_before_the_work(run, digits_bundle, tmp_path, place):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder").rename(tmp_path / "folder.png")
    (tmp_path / "file").touch()
    plot = tmp_path / place.replace("folder", "folder.png")
    status, _, err = run("evaluate", digits_bundle.folder, MANIFEST, "--plot", plot)
    assert status == 2
    assert "--plot" in err
    assert "cannot be written" in err
    assert "recognise" not in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--backend", "tflite"], "no artifact for 'tflite'"),
        (["--precision", "int4"], "no artifact for 'int4', it has fp32"),
        (["--backend", "onnx", "--plot", "x.xyz"], "end it in .png"),
    ],
)
def test_options_that_are_refused(run, digits_bundle, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    status, _, err = run("evaluate", digits_bundle.folder, MANIFEST, *options)
    assert status == 2
    assert message in err
    assert not any(tmp_path.iterdir())


def test_without_jiwer(run, digits_bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "jiwer", None)
    status, _, err = run("evaluate", digits_bundle.folder, MANIFEST)
    assert status == 2
    assert "pip install 'deploy-bias[evaluate]'" in err
