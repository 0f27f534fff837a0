"""Labels become text as ESPnet's tokenizers make it."""

import hashlib

import pytest

from deploy_bias.bundle import Bundle
from deploy_bias.contract import File
from deploy_bias.errors import BundleError
from deploy_bias.runtime.tokens import Tokens


@pytest.fixture
def tokens(digits_bundle, monkeypatch):
    """Make tokens of any list."""

    def make(*names):
        data = "".join(f"{name} {number}\n" for number, name in enumerate(names)).encode()
        file = File(path="tokens.txt", sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
        bundle = Bundle(digits_bundle.folder)
        bundle.manifest = bundle.manifest.model_copy(update={"tokens": file})
        monkeypatch.setattr(bundle, "read", lambda _: data)
        return Tokens(bundle)

    return make


def test_words(digits_bundle):
    tokens = Tokens(digits_bundle)
    assert len(tokens) == 14
    assert tokens[2] == "zero"
    assert tokens.text([2, 12, 3]) == "zero oh one"
    assert tokens.text([]) == ""


def test_pieces_of_words(tokens):
    found = tokens("<blank>", "▁he", "llo", "▁", "wor", "ld")
    assert found.text([1, 2, 3, 4, 5]) == "hello world"


def test_characters(tokens):
    found = tokens("<blank>", "<space>", "a", "b")
    assert found.text([2, 3, 1, 2]) == "ab a"


def test_a_bundle_of_biases_has_none(dynamic_bundle):
    with pytest.raises(BundleError, match="holds biases alone"):
        Tokens(dynamic_bundle)
