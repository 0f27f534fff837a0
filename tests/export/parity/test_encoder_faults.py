"""Known-bad int8 encoders, with a right label and right hashes, do not pass."""

import hashlib
import json
import shutil

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from deploy_bias.bundle import Bundle
from deploy_bias.export import verify

FILE = "encoder.int8.onnx"


def times(factor):
    return "scales", lambda array: array * factor


SHUFFLED = "packed", lambda array: np.roll(array, 1, axis=0)
FAULTS = {
    "no keys": ("blocks.1.self_att.linear_k.weight", times(0.0)),
    "values too large": ("blocks.0.self_att.linear_v.weight", times(1.25)),
    "shuffled queries": ("blocks.2.self_att.linear_q.weight", SHUFFLED),
    "no feed-forward": ("blocks.3.feed_forward.w_1.weight", times(0.0)),
    "half a feed-forward": ("blocks.3.feed_forward.w_2.weight", times(0.5)),
    "a feed-forward a fifth too small": ("blocks.3.feed_forward.w_2.weight", times(0.8)),
    "queries a tenth too large": ("blocks.1.self_att.linear_q.weight", times(1.1)),
    "a shuffled convolution": ("blocks.0.conv_mod.out.weight", SHUFFLED),
    "not finite": ("blocks.1.self_att.linear_out.weight", times(np.nan)),
}


@pytest.fixture
def rewritten(int8_bundle, tmp_path):
    """Write another encoder into a copy that has what it takes to judge it, and verify that."""
    folder = tmp_path / "copy"
    shutil.copytree(int8_bundle.folder, folder)

    def write(model):
        data = model.SerializeToString()
        (folder / FILE).write_bytes(data)
        manifest = json.loads((folder / "manifest.json").read_text())
        kept = [FILE, "decoder.int8.onnx", "joiner.int8.onnx"]
        for artifact in manifest["artifacts"]:
            if artifact["path"] not in kept:
                (folder / artifact["path"]).unlink()
        manifest["artifacts"] = [a for a in manifest["artifacts"] if a["path"] in kept]
        for artifact in manifest["artifacts"]:
            if artifact["path"] == FILE:
                artifact |= {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return {result.graph: result for result in verify(Bundle(folder)).results}

    return write


def test_without_a_fault(int8_bundle, rewritten):
    results = rewritten(onnx.load(int8_bundle.folder / FILE))
    assert all(result.passed for result in results.values())
    assert results["encoder"].agreement.distance < 0.015


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault(int8_bundle, rewritten, fault):
    weight, (part, change) = FAULTS[fault]
    model = onnx.load(int8_bundle.folder / FILE)
    (tensor,) = [t for t in model.graph.initializer if t.name.endswith(f"{weight}.{part}")]
    array = numpy_helper.to_array(tensor)
    changed = np.ascontiguousarray(change(array))
    assert not np.array_equal(changed, array)
    tensor.CopyFrom(numpy_helper.from_array(changed, tensor.name))
    results = rewritten(model)
    assert not results["encoder"].passed
    assert results["decoder"].passed
    assert results["joint"].passed
