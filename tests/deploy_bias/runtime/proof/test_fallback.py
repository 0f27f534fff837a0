"""A recogniser that checks its graphs before it listens."""

import logging
import shutil

import pytest

from deploy_bias.errors import BackendError, BundleError, MismatchError, OptionError
from deploy_bias.runtime import Recognizer, open_recognizer
from deploy_bias.runtime.backends import onnx as onnx_backend
from tests.deploy_bias.runtime.proof.wrong_runtimes import WRONG

WRONG_SESSION, _ = WRONG["a dropped bias"]


def test_right_graphs_are_taken(digits_bundle):
    assert Recognizer(digits_bundle, check=True).joint
    assert Recognizer(digits_bundle, check="fallback", providers=["CPUExecutionProvider"]).joint


def test_wrong_ones_are_not(digits_bundle, monkeypatch):
    monkeypatch.setattr(onnx_backend, "open_session", WRONG_SESSION)
    with pytest.raises(MismatchError, match=r"joint on onnx .*Take another provider, precision"):
        Recognizer(digits_bundle, check=True)
    assert Recognizer(digits_bundle).joint  # nobody asked


def test_another_backend_is_taken_and_told(digits_bundle, monkeypatch, caplog):
    monkeypatch.setattr(onnx_backend, "open_session", WRONG_SESSION)
    with caplog.at_level(logging.WARNING, "deploy_bias"):
        recognizer = open_recognizer(digits_bundle, check="fallback")
    assert "taking executorch, fp32 instead" in caplog.text
    assert "joint on onnx" in caplog.text
    assert type(recognizer.joint.graph._session).__module__.endswith("executorch")


def test_a_precision_that_is_not_there_is_an_error_still(int8_bundle):
    with pytest.raises(BackendError, match="fp32"):
        Recognizer(int8_bundle, check="fallback")


def test_another_backend_is_taken_for_a_cut_file(digits_bundle, tmp_path):
    shutil.copytree(digits_bundle.folder, tmp_path / "b")
    (tmp_path / "b/encoder.onnx").write_bytes(b"")
    assert Recognizer(tmp_path / "b", check="fallback").joint
    with pytest.raises(BundleError, match="was changed or cut"):
        Recognizer(tmp_path / "b", check=True)


def test_nothing_is_right(digits_bundle_320ms, monkeypatch):
    monkeypatch.setattr(onnx_backend, "open_session", WRONG_SESSION)
    with pytest.raises(MismatchError, match="Nothing in the bundle is right here"):
        Recognizer(digits_bundle_320ms, check="fallback")


def test_another_wish(digits_bundle):
    with pytest.raises(OptionError, match=r'check must be True, False or "fallback", got .yes.'):
        Recognizer(digits_bundle, check="yes")


def test_a_provider_that_is_not_there(digits_bundle):
    with pytest.raises(BackendError, match="'NoneProvider' is not there"):
        Recognizer(digits_bundle, providers=["NoneProvider"])
