"""`transcribe`: any audio to text, and what is no audio to one line of error."""

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import termios
import time
from itertools import pairwise

import numpy as np
import pytest
import soundfile
import soxr

from tests.deploy_bias.cli.audio import encoded
from tests.espnet.frontends import DIGITS
from tests.espnet.speech import RATE, samples_of

WAVS = DIGITS / "wavs"
PROMPT = samples_of("prompts_0")
FIVES = samples_of("digits_55")[: int(1.5 * RATE)]
"""five five"""
TEXT = "oh seven seven one four four"


def transcribed(out):
    return [result.get("text") for result in json.loads(out)["results"]]


def test_files(run, digits_bundle):
    status, out, err = run(
        "transcribe", digits_bundle.folder, WAVS / "prompts_0.wav", WAVS / "digits_55.wav"
    )
    assert status == 0
    assert TEXT in out
    assert "five five" in out
    assert "transcribe" in err


def test_json(run, digits_bundle):
    status, out, _ = run("transcribe", digits_bundle.folder, WAVS / "prompts_0.wav", "--json")
    (found,) = json.loads(out)["results"]
    assert status == 0
    assert found["text"] == TEXT
    assert found["tokens"] == TEXT.split()
    assert len(found["timestamps"]) == len(found["labels"]) == 6
    assert found["is_final"]
    assert found["seconds"] == pytest.approx(PROMPT.size / RATE)
    assert 0 < found["real_time_factor"] < 10


def test_words_have_times_and_confidence(run, digits_bundle):
    _, out, _ = run("transcribe", digits_bundle.folder, WAVS / "prompts_0.wav", "--json")
    (found,) = json.loads(out)["results"]
    words = found["words"]
    assert [word["text"] for word in words] == TEXT.split()
    assert [word["start"] for word in words] == found["timestamps"]
    assert [word["confidence"] for word in words] == found["log_probs"]
    assert all(word["start"] < word["end"] for word in words)
    assert all(a["end"] <= b["start"] for a, b in pairwise(words))
    assert found["confidence"] == pytest.approx(np.mean(found["log_probs"]))
    assert -1 < found["confidence"] < 0


class TestHotwords:
    """prompts_1 says "three two oh three five"."""

    def transcribe(self, run, bundle, tmp_path, lines, *options):
        path = tmp_path / "hotwords.txt"
        path.write_text(lines)
        arguments = ["--search", "maes", "--hotwords", path, *options, "--json"]
        return run("transcribe", bundle.folder, WAVS / "prompts_1.wav", *arguments)

    def test_a_boost_changes_what_is_heard(self, run, digits_bundle, tmp_path):
        _, out, _ = self.transcribe(run, digits_bundle, tmp_path, "nine oh :9\n\nzero\n")
        assert "nine oh" in transcribed(out)[0]

    @pytest.mark.parametrize(
        ("lines", "options", "message"),
        [
            ("\n", [], "hotwords.txt: empty; expected a hotword in each line"),
            ("ten", [], "'ten' cannot be spelt: the model has no token 'ten'"),
            ("one :nan", [], "hotword 'one': the boost of a hotword must be a number above 0"),
            ("one :x", [], "hotword 'one': the boost of a hotword must be a number above 0"),
            ("one", ["--search", "greedy"], "hotwords: the greedy search has no beam"),
        ],
    )
    def test_what_is_wrong_is_one_line(self, run, digits_bundle, tmp_path, lines, options, message):
        status, _, err = self.transcribe(run, digits_bundle, tmp_path, lines, *options)
        assert status == 2
        assert message in " ".join(err.split())


class TestFormats:
    def test_words(self, run, digits_bundle):
        options = ["--format", "words"]
        _, out, _ = run("transcribe", digits_bundle.folder, WAVS / "digits_55.wav", *options)
        assert out.count("five") == 2
        assert "confidence" in out

    def test_ctm(self, run, digits_bundle):
        files = [WAVS / "digits_55.wav", WAVS / "prompts_0.wav"]
        _, out, _ = run("transcribe", digits_bundle.folder, *files, "--format", "ctm")
        lines = [line.split() for line in out.splitlines()]
        assert [line[0] for line in lines] == ["digits_55"] * 2 + ["prompts_0"] * 6
        assert [line[4] for line in lines] == ["five", "five", *TEXT.split()]
        for _, channel, start, duration, _, probability in lines:
            assert channel == "1"
            assert float(start) > 0 < float(duration)
            assert 0 < float(probability) <= 1

    def test_srt_and_vtt(self, run, digits_bundle):
        arguments = ["transcribe", digits_bundle.folder, WAVS / "digits_55.wav", "--format"]
        srt, vtt = (run(*arguments, form)[1] for form in ("srt", "vtt"))
        assert re.fullmatch(r"1\n00:00:0\d,\d{3} --> 00:00:0\d,\d{3}\nfive five\n\n", srt)
        assert vtt == "WEBVTT\n\n" + srt.removeprefix("1\n").replace(",", ".")

    def test_subtitles_are_of_one_recording(self, run, digits_bundle):
        files = [WAVS / "digits_55.wav", WAVS / "prompts_0.wav"]
        status, _, err = run("transcribe", digits_bundle.folder, *files, "--format", "srt")
        assert status == 2
        assert "--format srt is of one recording, got 2" in err


@pytest.mark.parametrize("backend", ["executorch", "torchscript"])
def test_backends_and_searches(run, digits_bundle, backend):
    options = ["--backend", backend, "--search", "maes", "--beam-size", 3, "--json"]
    _, out, _ = run("transcribe", digits_bundle.folder, WAVS / "prompts_0.wav", *options)
    assert transcribed(out) == [TEXT]


def test_lead_in(run, digits_bundle):
    """The first word of prompts_3 starts at once, and ESPnet's streaming drops a frame there."""
    arguments = ["transcribe", digits_bundle.folder, WAVS / "prompts_3.wav", "--json"]
    assert transcribed(run(*arguments, "--lead-in", 0)[1]) == ["two eight five five one"]
    assert transcribed(run(*arguments)[1]) == ["three five five one"]


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_formats_rates_and_channels(run, digits_bundle, tmp_path, ending, rate):
    samples = soxr.resample(samples_of("digits_55"), RATE, rate)
    for name, audio in (("mono", samples), ("stereo", np.stack([samples, samples], 1))):
        path = tmp_path / f"{name}.{ending}"
        soundfile.write(path, audio, rate)
        _, out, _ = run("transcribe", digits_bundle.folder, path, "--json")
        assert transcribed(out) == ["five five"]


def test_channels_are_averaged(run, digits_bundle, tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.1, PROMPT.size)
    path = tmp_path / "stereo.wav"
    soundfile.write(path, np.stack([PROMPT + noise, PROMPT - noise], 1), RATE, subtype="FLOAT")
    assert transcribed(run("transcribe", digits_bundle.folder, path, "--json")[1]) == [TEXT]


def test_stream_shows_the_text_in_the_time_of_the_audio(run, digits_bundle, tmp_path):
    path = tmp_path / "short.wav"
    soundfile.write(path, FIVES, RATE)
    begun = time.perf_counter()
    status, out, _ = run("transcribe", digits_bundle.folder, path, "--stream")
    assert status == 0
    assert time.perf_counter() - begun >= 1.5
    assert "five five" in out
    assert "1.5 s of audio, real-time factor 0." in out


class TestOfflineBundle:
    """A bundle of --offline is known by what it holds."""

    def test_the_same_bad_audio_and_the_others_run(self, run, offline_bundle, tmp_path):
        nan = PROMPT.copy()
        nan[9000] = np.nan
        for name, samples in {
            "none": PROMPT[:0],
            "one": PROMPT[:1],
            "nan": nan,
            "long": np.zeros(601 * RATE, np.float32),
            "good": soxr.resample(PROMPT, RATE, 16000),
        }.items():
            soundfile.write(
                tmp_path / f"{name}.wav", samples, RATE * (1 + (name == "good")), subtype="FLOAT"
            )
        files = [tmp_path / f"{name}.wav" for name in ("none", "one", "nan", "long", "good")]
        status, out, err = run("transcribe", offline_bundle.folder, *files, "--json")
        assert status == 2
        assert transcribed(out) == ["", "", None, None, TEXT]
        assert "from 1.1 s on: sample 200 of 800 is nan" in err
        # 300 ms of the 600 s are the silence that it begins with.
        assert "from 599.7 s on: the utterance is longer than the graphs take, by 0.1 s" in err

    @pytest.mark.parametrize("option", ["--stream", "--microphone"])
    def test_cannot_stream(self, run, offline_bundle, option):
        files = [WAVS / "prompts_0.wav"] if option == "--stream" else []
        status, _, err = run("transcribe", offline_bundle.folder, *files, option)
        assert status == 2
        assert f"error: {option}: {offline_bundle.folder} was exported with --offline" in err

    def test_a_backend_that_has_no_encoder(self, run, offline_bundle):
        wav = WAVS / "prompts_0.wav"
        status, _, err = run("transcribe", offline_bundle.folder, wav, "--backend", "torchscript")
        assert status == 2
        assert "no graph encoder for torchscript" in err


class TestBadAudio:
    """A line for each, the other files still run, and the exit status tells."""

    @pytest.fixture
    def audio(self, tmp_path):
        nan = PROMPT.copy()
        nan[9000] = np.nan
        for name, samples in {
            "none": PROMPT[:0],
            "one": PROMPT[:1],
            "clipped": np.clip(PROMPT * 50, -1, 1),
            "nan": nan,
            "good": PROMPT,
        }.items():
            soundfile.write(tmp_path / f"{name}.wav", samples, RATE, subtype="FLOAT")
        whole = (WAVS / "prompts_0.wav").read_bytes()
        (tmp_path / "truncated.wav").write_bytes(whole[: len(whole) // 2])
        (tmp_path / "header.wav").write_bytes(whole[:30])
        (tmp_path / "empty.wav").write_bytes(b"")
        (tmp_path / "text.wav").write_text("no audio")
        (tmp_path / "folder.wav").mkdir()
        return tmp_path

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("missing", "no such file or directory; expected an audio file"),
            ("folder", "is a directory; expected an audio file"),
            ("empty", "cannot be read as audio"),
            ("text", "cannot be read as audio"),
            ("header", "cannot be read as audio"),
            ("nan", "from 1.1 s on: sample 200 of 800 is nan"),
        ],
    )
    def test_is_an_error_and_the_others_run(self, run, digits_bundle, audio, name, message):
        wrong, good = audio / f"{name}.wav", audio / "good.wav"
        status, out, err = run("transcribe", digits_bundle.folder, wrong, good)
        assert status == 2
        assert TEXT in " ".join(out.split())
        (line,) = [line for line in err.splitlines() if line.startswith("error:")]
        assert str(wrong) in line
        assert message in line
        status, out, _ = run("transcribe", digits_bundle.folder, wrong, good, "--json")
        assert status == 2
        assert transcribed(out) == [None, TEXT]
        assert message in json.loads(out)["results"][0]["error"]

    @pytest.mark.parametrize(
        ("name", "text"),
        [("none", ""), ("one", ""), ("truncated", "oh seven seven"), ("clipped", None)],
    )
    def test_is_a_text(self, run, digits_bundle, audio, name, text):
        path = audio / f"{name}.wav"
        status, out, _ = run("transcribe", digits_bundle.folder, path, "--json")
        assert status == 0
        (found,) = transcribed(out)
        assert text in (None, found)
        assert run("transcribe", digits_bundle.folder, path)[0] == 0

    def test_while_it_plays(self, run, digits_bundle, audio):
        arguments = [audio / "text.wav", audio / "one.wav"]
        status, out, err = run("transcribe", digits_bundle.folder, *arguments, "--stream")
        assert status == 2
        assert "real-time factor" in out
        assert "cannot be read as audio" in err


class TestNames:
    """A name is shown and never obeyed, and none ends the others."""

    NAMES = (
        os.fsdecode(b"lat\xe9in.wav"),
        "red\x1b[31m.wav",
        "br\u2028eak.wav",
        "two\nlines.wav",
    )
    SHOWN = (r"lat\udce9in.wav", r"red\x1b[31m.wav", r"br\u2028eak.wav", "two lines.wav")

    @pytest.fixture
    def files(self, tmp_path):
        for name in self.NAMES:
            (tmp_path / name).write_bytes(encoded(FIVES, RATE, "wav"))
        return [tmp_path / name for name in self.NAMES]

    def test_heard(self, run, digits_bundle, files):
        status, out, _ = run("transcribe", digits_bundle.folder, *files, "--json")
        assert status == 0
        assert transcribed(out) == ["five five"] * len(files)
        assert [result["file"] for result in json.loads(out)["results"]] == list(map(str, files))
        for option in ([], ["--stream"]):
            status, out, err = run("transcribe", digits_bundle.folder, *files, *option)
            assert status == 0
            assert out.count("five five") == len(files)
            assert "\x1b[31m" not in out + err
            assert all(name in out for name in self.SHOWN[:3])

    def test_missing(self, run, digits_bundle, tmp_path, files):
        for file in files:
            file.unlink()
        status, _, err = run("transcribe", digits_bundle.folder, *files, "x" * 300)
        assert status == 2
        assert [line for line in err.splitlines() if line.startswith("error:")] == [
            *(
                f"error: {tmp_path}/{name}: no such file or directory; expected an audio file."
                for name in self.SHOWN
            ),
            f"error: {'x' * 300}: file name too long; expected an audio file.",
        ]


def command(*arguments, **options):
    """The command in a process of its own."""
    # A run in the background ignores Ctrl-C, and so would its children.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from deploy_bias.export.cli import main; main()"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def test_in_a_locale_without_the_characters(digits_bundle):
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    arguments = ("transcribe", digits_bundle.folder, WAVS / "digits_55.wav")
    with command(*arguments, env=environment) as process:
        out, err = process.communicate()
    assert process.returncode == 0, err
    assert b"five five" in out
    assert (out + err).isascii()


def test_the_standard_input(digits_bundle):
    arguments = ("transcribe", digits_bundle.folder, "/dev/stdin", "--json")
    with command(*arguments, stdin=subprocess.PIPE) as process:
        out, err = process.communicate((WAVS / "digits_55.wav").read_bytes())
    assert process.returncode == 0, err
    assert transcribed(out) == ["five five"]


@pytest.mark.parametrize("option", ["--json", "--stream", None])
def test_ctrl_c_prints_what_was_heard(digits_bundle, tmp_path, option):
    """A file is heard, and of a pipe that stays open what came."""
    os.mkfifo(tmp_path / "pipe")
    soundfile.write(tmp_path / "short.wav", FIVES, RATE)
    files = [tmp_path / "short.wav", tmp_path / "pipe"]
    options = [option] if option else []
    with (
        command("transcribe", digits_bundle.folder, *files, *options) as process,
        (tmp_path / "pipe").open("wb") as pipe,
    ):
        # FFmpeg looks at the first 64 kB before it decodes; the rest waits in the pipe.
        pipe.write(encoded(np.tile(PROMPT, 2), RATE, "wav")[:110_000])
        pipe.flush()
        # Read, then decoded: a busy machine takes its time for both.
        while process.poll() is None and fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)) != bytes(4):
            time.sleep(0.1)
        time.sleep(6)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    text = " ".join(out.decode().replace("│", " ").split())
    assert process.returncode == 130, err
    assert "five" in text
    assert "seven seven" in text
    assert b"pipe: interrupted at" in err


def test_what_is_cut_is_told(run, digits_bundle, tmp_path):
    whole = (WAVS / "prompts_0.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[: len(whole) // 2])
    status, out, err = run("transcribe", digits_bundle.folder, tmp_path / "cut.wav", "--json")
    assert status == 0
    (warning,) = json.loads(out)["results"][0]["warnings"]
    assert "are missing: the file is cut" in warning
    assert f"warning: {tmp_path}/cut.wav: {warning}" in err


class TestMicrophone:
    class Device:
        """sounddevice, with a recording for a microphone."""

        class PortAudioError(Exception):
            pass

        def __init__(self, samples, rate):
            self.samples, self.rate = samples, rate

        def query_devices(self, kind):
            assert kind == "input"
            return {"default_samplerate": float(self.rate)}

        def InputStream(self, samplerate, channels, dtype):
            assert (samplerate, channels, dtype) == (self.rate, 1, "float32")
            return self

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def read(self, count):
            if not self.samples.size:
                raise KeyboardInterrupt
            read, self.samples = self.samples[:count], self.samples[count:]
            return read[:, None], False

    def test_a_line_for_each_utterance(self, run, digits_bundle, monkeypatch):
        pause = np.zeros(3 * RATE, np.float32)
        said = np.concatenate([samples_of("digits_55"), pause, PROMPT, pause])
        device = self.Device(soxr.resample(said, RATE, 16000), 16000)
        monkeypatch.setitem(sys.modules, "sounddevice", device)
        status, out, _ = run("transcribe", digits_bundle.folder, "--microphone")
        assert status == 0
        assert out.splitlines() == ["listening; Ctrl-C ends", "five five", TEXT, "done"]

    def test_without_a_device(self, run, digits_bundle, monkeypatch):
        device = self.Device(PROMPT, RATE)

        def none(kind):
            raise device.PortAudioError("Error querying device -1")

        device.query_devices = none
        monkeypatch.setitem(sys.modules, "sounddevice", device)
        status, _, err = run("transcribe", digits_bundle.folder, "--microphone")
        assert status == 2
        assert "no input device can be opened (Error querying device -1)" in err

    def test_without_sounddevice(self, run, digits_bundle, monkeypatch):
        monkeypatch.setitem(sys.modules, "sounddevice", None)
        status, _, err = run("transcribe", digits_bundle.folder, "--microphone")
        assert status == 2
        assert "pip install 'deploy-bias[microphone]'" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name audio files or --microphone"),
        (["{wav}", "--microphone"], "name audio files or --microphone"),
        (["{wav}", "--json", "--stream"], "leave out --stream"),
        (["{wav}", "--beam-size", "3"], "the greedy search has no beam"),
        (["{wav}", "--backend", "tflite"], "backend 'tflite' is unknown"),
        (["{wav}", "--precision", "int4"], "in precision 'int4'"),
        (["{wav}", "--precision", "int5"], "Invalid value for '--precision'"),
        (["{wav}", "--lead-in", "-1"], "Invalid value for '--lead-in'"),
        (["{wav}", "--lead-in", "60000"], "lead_in must be 0 to 60 seconds"),
    ],
)
def test_what_cannot_be_done(run, digits_bundle, arguments, message):
    wav = WAVS / "prompts_0.wav"
    status, _, err = run(
        "transcribe", digits_bundle.folder, *[a.format(wav=wav) for a in arguments]
    )
    assert status == 2
    assert message in err
    assert "Traceback" not in err


def test_without_av(run, digits_bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    status, _, err = run("transcribe", digits_bundle.folder, WAVS / "prompts_0.wav")
    assert status == 2
    assert "pip install 'deploy-bias[audio]'" in err
