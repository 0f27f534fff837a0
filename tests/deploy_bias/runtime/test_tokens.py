"""Labels become text as ESPnet's tokenizers make it."""

import hashlib
import io
import sys

import pytest
import sentencepiece

from deploy_bias.bundle import Bundle
from deploy_bias.bundle.manifest import File
from deploy_bias.errors import BundleError, OptionError
from deploy_bias.runtime.pieces import Pieces
from deploy_bias.runtime.tokens import Tokens


@pytest.fixture
def tokens(digits_bundle, monkeypatch):
    """Make tokens of any list."""

    def make(*names, kind=None):
        data = "".join(f"{name} {number}\n" for number, name in enumerate(names)).encode()
        file = File(path="tokens.txt", sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
        bundle = Bundle(digits_bundle.folder)
        bundle.manifest = bundle.manifest.model_copy(update={"tokens": file, "token_type": kind})
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


def test_phones(tokens):
    found = tokens("<blank>", "AH0", "<space>", "B", kind="phn")
    assert found.text([1, 3, 1]) == "AH0BAH0"


@pytest.mark.parametrize(
    ("names", "kind", "labels", "words"),
    [
        (("▁he", "llo", "▁", "wor", "ld"), None, [0, 1, 2, 3, 4], [(0, 2), (2, 5)]),
        (("▁he", "llo", "▁"), "bpe", [1, 0, 2], [(0, 1), (1, 2)]),
        (("<space>", "a", "b"), None, [1, 2, 0, 0, 1], [(0, 2), (4, 5)]),
        (("<space>", "a"), "char", [0, 1, 0], [(1, 2)]),
        (("one", "two"), "word", [0, 0, 1], [(0, 1), (1, 2), (2, 3)]),
        (("AH0", "B"), "phn", [0, 1, 0], [(0, 3)]),
        (("one",), None, [], []),
    ],
)
def test_where_the_words_are(tokens, names, kind, labels, words):
    found = tokens(*names, kind=kind)
    slices = found.words(labels)
    assert [(word.start, word.stop) for word in slices] == words
    assert [found.text(labels[word]).strip() for word in slices] == found.text(labels).split()


@pytest.fixture(scope="module")
def bpe_model():
    """A sentencepiece model that falls back to bytes."""
    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["hello world", "hello there", "the word"] * 20),
        model_writer=made,
        vocab_size=300,
        model_type="bpe",
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return made.getvalue()


@pytest.fixture
def bpe_tokens(digits_bundle, bpe_model, monkeypatch):
    """Make the tokens of a bundle with a sentencepiece model."""

    def make(data=bpe_model):
        processor = sentencepiece.SentencePieceProcessor(model_proto=bpe_model)
        pieces = [processor.IdToPiece(i) for i in range(processor.GetPieceSize())]
        lines = "".join(f"{piece} {number}\n" for number, piece in enumerate(pieces)).encode()
        contents = {"tokens.txt": lines, "bpe.model": data}
        described = {
            path: File(path=path, sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))
            for path, content in contents.items()
        }
        bundle = Bundle(digits_bundle.folder)
        bundle.manifest = bundle.manifest.model_copy(
            update={
                "tokens": described["tokens.txt"],
                "token_type": "bpe",
                "bpe_model": described["bpe.model"],
            }
        )
        monkeypatch.setattr(bundle, "read", lambda file: contents[file.path])
        return Tokens(bundle), processor

    return make


@pytest.mark.parametrize("text", ["hello world", "the é word", "", "hell o"])
def test_sentencepiece_joins_its_own_pieces(bpe_tokens, text):
    found, processor = bpe_tokens()
    assert found.text(processor.EncodeAsIds(text)) == text


def test_pieces_are_joined_without_sentencepiece_too(bpe_tokens, monkeypatch):
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    found, processor = bpe_tokens()
    assert found.text(processor.EncodeAsIds("hello world")) == "hello world"


def test_a_damaged_sentencepiece_model(bpe_tokens):
    with pytest.raises(BundleError, match=r"bpe\.model: no sentencepiece model"):
        bpe_tokens(b"nonsense")


def test_a_bundle_of_biases_has_none(dynamic_bundle):
    with pytest.raises(BundleError, match="holds biases alone"):
        Tokens(dynamic_bundle)


class TestSpelling:
    """Text to labels, as the training data was spelt."""

    @pytest.mark.parametrize(
        ("names", "kind", "text", "labels"),
        [
            (("one", "two"), "word", " two  one", (1, 0)),
            (("<space>", "a", "b"), "char", "ab  a", (1, 2, 0, 1)),
            (("AH0", "B"), "phn", "B AH0", (1, 0)),
        ],
    )
    def test_words_characters_and_phones(self, tokens, names, kind, text, labels):
        assert tokens(*names, kind=kind).labels(text) == labels

    @pytest.mark.parametrize("text", ["three", "One", "", "  "])
    def test_what_cannot_be_spelt_is_named(self, tokens, text):
        with pytest.raises(OptionError, match=f"'{text}' cannot be spelt"):
            tokens("one", "two", kind="word").labels(text)

    def test_pieces_need_the_model(self, tokens):
        with pytest.raises(
            OptionError, match=r"'he' cannot be spelt: the bundle holds no bpe\.model"
        ):
            tokens("▁he", kind="bpe").labels("he")

    @pytest.mark.parametrize("kind", ["unigram", "bpe"])
    def test_pieces_are_those_of_sentencepiece(self, kind):
        words = ["hello", "world", "there", "the", "word", "help", "low", "wonder", "he", "ello"]
        written = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter([f"{a} {b}" for a in words for b in words] * 3),
            model_writer=written,
            vocab_size=34,
            model_type=kind,
            hard_vocab_limit=False,
        )
        theirs = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
        ours = Pieces(written.getvalue(), "bpe.model")
        for text in [*words, *(f"{a} {b}  {a}{b}" for a in words for b in words), "ｈｅllo"]:
            assert ours.spell(text) == theirs.encode(text, out_type=str)
        assert ours.spell("héllo") is None

    @pytest.mark.parametrize("data", [b"", b"no model", b"\x0a\xff", b"\x0a\x02\x0a\x05"])
    def test_a_damaged_model_is_an_error(self, data):
        with pytest.raises(BundleError, match=r"no (sentencepiece model|model of pieces)"):
            Pieces(data, "bpe.model")
