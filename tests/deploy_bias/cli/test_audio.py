"""`AudioFile`: all that is in a file is read, or the warnings say what is not."""

import os
import shutil
import subprocess
import threading
from contextlib import suppress
from random import Random

import numpy as np
import pytest

from deploy_bias.cli.audio import AudioFile
from deploy_bias.errors import SourceError
from tests.deploy_bias.cli.audio import encoded, headerless_mp3, killed_wav, mutated, streamed_flac
from tests.espnet.speech import RATE, samples_of

SAMPLES = samples_of("prompts_0")
SECONDS = SAMPLES.size / RATE
KINDS = ("wav", "flac", "ogg", "opus", "mp3")


@pytest.fixture
def read(tmp_path):
    """Read bytes as a file; return samples, rate and warnings."""

    def call(content, name="audio"):
        path = tmp_path / name
        path.write_bytes(content)
        return read_file(path)

    return call


def read_file(path):
    audio = AudioFile(path)
    blocks = list(audio.blocks())
    samples = np.concatenate([block.samples for block in blocks] or [np.zeros(0, np.float32)])
    return samples, {block.sample_rate for block in blocks}, audio.warnings


class TestWhole:
    @pytest.mark.parametrize("kind", ["wav", "flac"])
    def test_samples_to_the_bit(self, read, kind):
        samples, rates, warnings = read(encoded(SAMPLES, RATE, kind))
        assert np.array_equal(samples, np.round(SAMPLES * 32768) / np.float32(32768))
        assert (rates, warnings) == ({RATE}, [])

    @pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
    def test_widths(self, read, subtype):
        samples, _, _ = read(encoded(SAMPLES, RATE, "wav", subtype=subtype))
        assert np.abs(samples - SAMPLES).max() <= (2**-7 if subtype == "PCM_U8" else 2**-15)

    @pytest.mark.parametrize("channels", [1, 2, 3, 6, 8])
    @pytest.mark.parametrize("kind", ["wav", "flac", "ogg"])
    def test_channels_are_averaged(self, read, kind, channels):
        audio = np.stack([SAMPLES * (n + 1) / channels for n in range(channels)], 1)
        samples, _, warnings = read(encoded(audio, RATE, kind))
        assert abs(samples - audio.mean(1)).max() < (0.1 if kind == "ogg" else 1e-4)
        assert warnings == []

    @pytest.mark.parametrize("kind", KINDS)
    def test_as_many_seconds_as_there_are(self, read, kind):
        samples, (rate,), warnings = read(encoded(SAMPLES, RATE, kind))
        assert samples.size / rate == pytest.approx(SECONDS, abs=0.1)
        assert warnings == []

    def test_none(self, read):
        samples, _, warnings = read(encoded(SAMPLES[:0], RATE, "wav"))
        assert (samples.size, warnings) == (0, [])


class TestOddButWhole:
    """What is silently cut short by readers that believe the header."""

    @pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000])
    def test_a_wav_whose_recorder_was_killed(self, read, size):
        whole = encoded(SAMPLES, RATE, "wav")
        samples, _, warnings = read(killed_wav(whole, size))
        assert np.array_equal(samples, read(whole)[0])
        assert warnings == []

    def test_a_flac_from_a_pipe(self, read):
        whole = encoded(SAMPLES, RATE, "flac")
        samples, _, warnings = read(streamed_flac(whole))
        assert np.array_equal(samples, read(whole)[0])
        assert warnings == []

    def test_an_mp3_of_variable_bit_rate_without_a_header(self, read):
        quiet = np.random.default_rng(0).normal(0, 1e-4, 20 * RATE).astype(np.float32)
        for audio in (np.concatenate([quiet, SAMPLES]), np.concatenate([SAMPLES, quiet])):
            samples, _, warnings = read(headerless_mp3(audio, RATE))
            assert samples.size / RATE == pytest.approx(audio.size / RATE, abs=0.3)
            assert warnings == []

    @pytest.mark.parametrize("kind", ["ogg", "opus", "mp3"])
    def test_a_chain(self, read, kind):
        links = [encoded(samples, RATE, kind) for samples in (SAMPLES, SAMPLES[:RATE], SAMPLES)]
        samples, (rate,), warnings = read(b"".join(links))
        assert samples.size / rate == pytest.approx(2 * SECONDS + 1, abs=0.6)
        assert warnings == []

    @pytest.mark.parametrize(
        ("kind", "message"),
        [
            ("ogg", f"reading ends at {SECONDS:.1f} s: Not yet implemented in FFmpeg"),
            ("flac", f"{SECONDS / 2:.1f} s at 16000 Hz were not read: the file begins at 8000 Hz"),
        ],
    )
    def test_a_chain_of_two_rates(self, read, kind, message):
        links = encoded(SAMPLES, RATE, kind) + encoded(SAMPLES, 2 * RATE, kind)
        samples, _, (warning,) = read(links)
        assert samples.size / RATE == pytest.approx(SECONDS, abs=0.1)
        assert message in warning


class TestCut:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("share", [0.4, 0.6, 0.8])
    def test_it_says_so(self, read, kind, share):
        whole = encoded(np.tile(SAMPLES, 2), RATE, kind)
        samples, (rate,), warnings = read(whole[: int(len(whole) * share)])
        assert 0 < samples.size / rate < 2 * SECONDS * (share + 0.3)
        (warning,) = warnings
        assert "the file is cut" in warning

    def test_seconds(self, read):
        whole = encoded(SAMPLES, RATE, "wav")
        _, _, warnings = read(whole[: 44 + 2 * RATE])
        assert warnings == [
            f"{SECONDS - 1:.1f} s beside the 1.0 s that were read are missing: the file is cut or "
            "damaged."
        ]

    @pytest.mark.parametrize("kind", ["flac", "ogg", "opus"])
    def test_damage_in_the_middle(self, read, kind):
        whole = bytearray(encoded(np.tile(SAMPLES, 4), RATE, kind))
        middle = len(whole) // 2
        whole[middle : middle + 40] = bytes(40)
        samples, (rate,), warnings = read(bytes(whole))
        assert samples.size / rate > 2 * SECONDS
        assert len(warnings) == 1
        assert "damaged" in warnings[0]

    def test_opposite_phase(self, read):
        _, _, warnings = read(encoded(np.stack([SAMPLES, -SAMPLES], 1), RATE, "wav"))
        assert warnings == ["the channels cancel one another: they are of opposite phase."]


class TestPipes:
    @pytest.mark.parametrize("kind", KINDS)
    def test_a_fifo(self, tmp_path, kind):
        whole = encoded(SAMPLES, RATE, kind)
        os.mkfifo(tmp_path / "fifo")
        writer = threading.Thread(target=(tmp_path / "fifo").write_bytes, args=(whole,))
        writer.start()
        samples, (rate,), warnings = read_file(tmp_path / "fifo")
        writer.join()
        assert samples.size / rate == pytest.approx(SECONDS, abs=0.2)
        assert warnings == []


class TestNoAudio:
    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"no audio",
            (SAMPLES * 32768).astype("<i2").tobytes(),
            encoded(SAMPLES, RATE, "wav")[:30],
            encoded(SAMPLES, RATE, "flac")[:100],
            b"ffconcat version 1.0\nfile other.wav\n",
            b"#EXTM3U\n#EXTINF:1,\nother.wav\n",
        ],
        ids=["empty", "text", "headerless", "wav header", "flac header", "a list", "a playlist"],
    )
    def test_content(self, read, content):
        with pytest.raises(SourceError, match="cannot be read as audio"):
            read(content)

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("missing", "no such file"),
            ("folder", "is a directory"),
            ("x" * 300, "file name too long"),
            ("loop", "too many levels of symbolic links"),
            ("nul\0", "embedded null byte"),
        ],
    )
    def test_names(self, tmp_path, name, message):
        (tmp_path / "folder").mkdir()
        (tmp_path / "loop").symlink_to("loop")
        with pytest.raises(SourceError, match=f"{message}.*; expected an audio file"):
            read_file(tmp_path / name)


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_files_are_audio_or_one_error(read, kind):
    """Two hundred; benchmarks/mutations.py runs any number."""
    whole = encoded(samples_of("digits_55"), RATE, kind)
    random = Random(0)
    for _ in range(200):
        with suppress(SourceError):
            samples, _, warnings = read(mutated(whole, random))
            assert samples.dtype == np.float32
            assert all("\n" not in warning for warning in warnings)


def test_a_wav_in_an_unknown_codec(read):
    whole = encoded(SAMPLES, RATE, "wav")
    with pytest.raises(SourceError, match="in an unknown codec"):
        read(whole[:20] + b"\x99\x99" + whole[22:])


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
class TestAgainstFfmpeg:
    """The samples that the command ffmpeg gives, where the machine has it."""

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("chained", [False, True])
    def test_samples(self, read, tmp_path, kind, chained):
        content = encoded(SAMPLES, RATE, kind) * (1 + chained)
        samples, _, warnings = read(content)
        command = ["ffmpeg", "-v", "error", "-i", tmp_path / "audio", "-f", "f32le", "-"]
        theirs = np.frombuffer(
            subprocess.run(command, capture_output=True, check=True).stdout, np.float32
        )
        assert warnings == []
        if chained and kind in ("flac", "opus"):  # there the command itself differs by version
            assert samples.size == 2 * read(encoded(SAMPLES, RATE, kind))[0].size
        else:
            assert samples.size == theirs.size
            assert np.abs(samples - theirs).max() < 1e-4
