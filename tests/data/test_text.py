"""Texts: what goes in comes back, held-out parts share nothing with the others, and each mistake has its sentence."""

import sys

import numpy as np
import pytest
import torch

from pushforward.data import load, save_samples
from pushforward.data.format import Format
from pushforward.data.text import TextReading, text_raw
from pushforward.data.tokens import END, Tokens, Unit
from pushforward.errors import UserError

TEXT = "".join(chr(97 + (i * i + i // 7) % 23) + ("é\n" if i % 11 == 0 else "") for i in range(3000))


def written(tmp_path, text=TEXT, name="a.txt"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("tokens", ["characters", "bytes"])
def test_a_text_goes_in_and_comes_back(tmp_path, tokens):
    data = load(written(tmp_path), length=40, tokens=tokens)
    assert data.format.kind == "text" and data.shape == (40,)
    x = data.test.all().values
    assert x.dtype == torch.int64 and int(x.max()) < data.format.coding.symbols
    texts = data.format.decode(x)
    encoded = TEXT if tokens == "characters" else TEXT.encode().decode("utf-8")
    if tokens == "characters":
        assert "".join(texts) in encoded
        assert torch.equal(data.format.encode(texts), x)
    assert Format.from_dict(data.format.to_dict()) == data.format
    again = load(written(tmp_path), length=40, tokens=tokens)
    assert again.fingerprint == data.fingerprint and data.origin["length"] == 40


def test_splits_follow_the_text_and_share_nothing(tmp_path):
    data = load(written(tmp_path), length=40, validation=0.1, test=0.2)
    train, validation, test = (split.values for split in (data.train, data.validation, data.test))
    units = np.array([ord(c) for c in TEXT], dtype=np.uint32)
    whole = len(units) // 40
    assert len(test) == round(0.2 * whole) and len(validation) == round(0.1 * whole)
    end = (whole - len(test) - len(validation)) * 40
    assert np.array_equal(validation.reshape(-1), units[end : end + validation.size])
    assert np.array_equal(test.reshape(-1), units[end + validation.size :][: test.size])
    assert np.array_equal(train[1], units[10:50]) and np.array_equal(train[-1][-10:], units[end - 10 : end])
    short = load(written(tmp_path), length=40, limit=20)
    assert len(short.validation) == 2 and short.train.values.max() <= units[: 18 * 40].max()


def test_lines_end(tmp_path):
    data = load(written(tmp_path, "anna\nbo\n\ncarla\n" * 5), lines=True)
    assert data.shape == (6,) and data.format.coding.ends and data.format.coding.alphabet[-1] == END
    texts = data.format.decode(data.train.all().values)
    assert set(texts) <= {"anna", "bo", "carla"}
    assert torch.equal(data.format.encode(texts), data.train.all().values)
    path = save_samples(texts, None, data.format, tmp_path / "out.txt")
    assert path.read_text().splitlines() == list(texts)
    with pytest.raises(UserError, match="texts, so use"):
        save_samples(texts, None, data.format, tmp_path / "out.csv")


def bytes_in_pairs(text):
    """A tokenizer of Hugging Face that learned some pairs of bytes of a text."""
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=270, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator([text], trainer)
    return made


def test_tokens_of_a_tokenizer(tmp_path):
    text = "the cat sat on the mät. " * 40
    made = bytes_in_pairs(text)
    data = load(written(tmp_path, text), tokens=made, length=6)
    coding = data.format.coding
    assert coding.unit is Unit.TOKEN and set(coding.alphabet) <= set(made.encode(text).ids)
    assert data.format.decode(data.train.all().values)[0] == made.decode(made.encode(text).ids[:6])
    assert Tokens.from_dict(coding.to_dict()) == coding
    assert data.origin is None
    made.save(str(tmp_path / "tokenizer.json"))
    again = load(written(tmp_path, text), tokens=str(tmp_path / "tokenizer.json"), length=6)
    assert again.origin is not None and again.format.coding.alphabet == coding.alphabet
    (tmp_path / "bad.json").write_text("else")
    with pytest.raises(UserError, match="no tokenizer of Hugging Face"):
        load(written(tmp_path, text), tokens=str(tmp_path / "bad.json"), length=6)
    with pytest.raises(UserError, match="expected one of the package tokenizers"):
        load(written(tmp_path, text), tokens=object(), length=6)


def test_without_the_package_tokens_are_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match=r"pip install .pushforward\[tokens\]"):
        load(written(tmp_path), tokens=str(tmp_path / "tokenizer.json"))


@pytest.mark.parametrize(
    ("content", "how", "sentence"),
    [
        (b"", {}, "is empty"),
        (b"   \n\n", {}, "is empty"),
        (b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", {}, "repeats one symbol"),
        (b"abc\nab\xe9c\n" * 20, {}, r"not UTF-8 text \(byte 6, line 2\)"),
        ("abc".encode("utf-16") * 30, {}, "UTF-16"),
        (b"abcdefgh" * 3, {"length": 20}, "at least three pieces of 20"),
        (b"ab\nabcdef\n" * 4, {"lines": True, "length": 4}, "line 2 .* has 6 characters"),
        (b"abcd" * 50, {"length": 1}, "at least 2"),
    ],
)
def test_what_is_refused(tmp_path, content, how, sentence):
    with pytest.raises(UserError, match=sentence):
        load(written(tmp_path, content), **how)


def test_unknown_units_are_named(tmp_path):
    coding = load(written(tmp_path), length=40).format.coding
    with pytest.raises(UserError, match=r"the character 'Z' \(U\+005A\) is not among the"):
        coding.encode(np.array(["Z" * 40]))
    with pytest.raises(UserError, match="longer than the model's 40"):
        coding.encode(np.array([TEXT[:41]]))
    with pytest.raises(UserError, match="shorter"):
        coding.encode(np.array([TEXT[:3]]))


@pytest.mark.parametrize(
    "change",
    [
        {"alphabet": [3]},
        {"alphabet": [5, 4]},
        {"length": 0},
        {"unit": "words"},
        {"tokenizer": "x"},
        {"alphabet": [1, 2**31]},
    ],
)
def test_damaged_codings_are_refused(change):
    stored = Tokens(Unit.CHARACTER, (97, 98), 8).to_dict()
    with pytest.raises(UserError, match="edited or damaged"):
        Tokens.from_dict({**stored, **change})


def test_bytes_keep_any_file():
    raw = text_raw(bytes(range(256)).decode("utf-8", errors="surrogateescape") * 4, "bytes", TextReading("bytes", 16))
    assert set(raw.values.reshape(-1).tolist()) == set(range(256))
