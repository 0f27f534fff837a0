"""deploy-bias decode: encoder frames in, text out."""

import json
from io import BytesIO

import numpy as np
import pytest


@pytest.mark.parametrize("backend", ["onnx", "executorch", "torchscript"])
def test_decode(run, digits, digits_bundle, backend):
    frames = digits / "encoder_out" / "prompts_0.npy"
    status, out, err = run("decode", digits_bundle.folder, frames, "--backend", backend)
    assert status == 0
    assert "oh seven seven one four four" in out
    assert "decode 154 frames" in err


def test_decode_takes_the_frames_of_an_offline_bundle_too(run, digits, offline_bundle):
    frames = digits / "encoder_out" / "prompts_0.npy"
    status, out, _ = run("decode", offline_bundle.folder, frames)
    assert status == 0
    assert "oh seven seven one four four" in out


def test_decode_json(run, digits, digits_bundle):
    frames = digits / "encoder_out" / "prompts_4.npy"
    options = ["--search", "maes", "--beam-size", 3, "--nbest", 2, "--json"]
    status, out, _ = run("decode", digits_bundle.folder, frames, *options)
    assert status == 0
    first, second = json.loads(out)["results"]
    assert first["text"] == "four four four five oh zero"
    assert first["tokens"] == first["text"].split()
    assert first["labels"] == [6, 6, 6, 7, 12, 2]
    assert first["frames"] == sorted(first["frames"])
    assert first["score"] > second["score"]


def absurd(rows):
    """A .npy that says to hold so many rows."""
    np.lib.format.write_array_header_1_0(
        io := BytesIO(), {"descr": "<f4", "fortran_order": False, "shape": (rows, 96)}
    )
    return io.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a .npy file"),
        (b"PK nonsense", "not a .npy file"),
        (absurd(10**12), "not a .npy file"),
        (absurd(10**30), "not a .npy file"),
        (np.zeros((1, 3, 96), np.float32), "expected floating-point (frames, E), got float32"),
        (np.zeros((3, 96), np.int64), "got int64 (3, 96)"),
        (np.zeros((3, 95), np.float32), "float32 (frames, 96), got float32 (3, 95)"),
        (np.full((3, 96), np.nan, np.float32), "encoder frame 0 of 3 holds NaN"),
        (np.array([{}]), "not a .npy file"),
    ],
)
def test_decode_refuses_what_are_no_frames(run, digits_bundle, tmp_path, content, message):
    path = tmp_path / "frames.npy"
    path.write_bytes(content) if isinstance(content, bytes) else np.save(path, content)
    status, _, err = run("decode", digits_bundle.folder, path)
    assert status == 2
    assert message in err


def test_decode_no_frames_at_all(run, digits_bundle, tmp_path):
    np.save(tmp_path / "none.npy", np.zeros((0, 96), np.float32))
    status, out, _ = run("decode", digits_bundle.folder, tmp_path / "none.npy", "--json")
    assert status == 0
    assert json.loads(out)["results"][0]["text"] == ""
