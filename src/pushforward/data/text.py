"""Text files: one long text cut into pieces, or one item per line."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pushforward.data.limits import check_size
from pushforward.data.raw import Raw, Reading
from pushforward.data.tokenizer import Tokenizer
from pushforward.data.tokens import END, Tokens, Unit, units_of
from pushforward.errors import UserError

USUAL_LENGTH = 128
"""Units of a piece, where it is not asked for."""
_LEAST, _PIECES = 8, 32
"""The shortest piece that is chosen, and into how many a short text is cut at least."""
_OVERLAP = 4
"""Pieces of the training text begin every quarter of their length, so that none of its places is always at an edge."""
_BYTES = 16
"""Of memory for a byte of text while it is read."""


@dataclass(frozen=True)
class TextReading:
    """How texts are cut: into which units, of which length (None: as suits the data), one item per line or not.

    `tokens` is `characters`, `bytes`, a tokenizer of Hugging Face or the path of its tokenizer.json.
    """

    tokens: Any = Unit.CHARACTER
    length: int | None = None
    lines: bool = False

    @property
    def unit(self) -> Unit:
        given = self.tokens
        return Unit(given) if isinstance(given, str) and given in (Unit.CHARACTER, Unit.BYTE) else Unit.TOKEN


def read_text(path: Path, reading: Reading) -> Raw:
    """A text as pieces of equal length, or its lines. Raises UserError for empty files and other encodings."""
    how = reading.text
    try:
        check_size(str(path), path.stat().st_size * _BYTES, reading.memory)
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from error
    return text_raw(_decoded(content, path, how.unit), str(path), how)


def _decoded(content: bytes, path: Path, unit: Unit) -> str:
    if unit is Unit.BYTE:
        return content.decode("utf-8", errors="surrogateescape")
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise UserError(f"{path} is UTF-16, and UTF-8 was expected: save it as UTF-8.")
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(
            f"{path} is not UTF-8 text (byte {error.start}, line {line}): save it as UTF-8, or learn its bytes with "
            "tokens='bytes' (--set data.tokens=bytes)."
        ) from None


def text_raw(text: str, what: str, how: TextReading) -> Raw:
    """A text in memory as rows of units: uint32 (N, length)."""
    tokenizer = Tokenizer.json_of(how.tokens) if how.unit is Unit.TOKEN else None
    if not text.strip():
        raise UserError(f"{what} is empty, and a text was expected.")
    unit = how.unit
    if how.lines:
        rows = _lines(text, what, how, unit, tokenizer)
        return Raw(what, rows, text=Cut(unit, tokenizer, None))
    units = _bytes(text) if unit is Unit.BYTE else units_of(text, unit, tokenizer)
    if len(np.unique(units)) < 2:
        raise UserError(f"{what} repeats one symbol, so there is nothing to learn: give a text of at least two.")
    length = how.length or max(_LEAST, min(USUAL_LENGTH, len(units) // _PIECES))
    if len(units) < 3 * length:
        less = max(2, len(units) // 8)
        hint = f", or shorter pieces with length={less} (--set data.length={less})" if len(units) >= 3 * less else ""
        raise UserError(
            f"{what} has {len(units)} {unit}, and at least three pieces of {length} are needed: give a longer text"
            f"{hint}."
        )
    return Raw(what, pieces(units, length, length), text=Cut(unit, tokenizer, units))


def _bytes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-8", errors="surrogateescape"), dtype=np.uint8).astype(np.uint32)


def _lines(text: str, what: str, how: TextReading, unit: Unit, tokenizer: str | None) -> np.ndarray:
    """Each line that is not blank, filled with END to one length (at least one END: that an item ends is learned)."""
    found = [
        (number, _bytes(line) if unit is Unit.BYTE else units_of(line, unit, tokenizer))
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip()
    ]
    longest = max(len(units) for _, units in found)
    length = how.length or longest + 1
    for number, units in found:
        if len(units) > length - 1:
            raise UserError(
                f"line {number} of {what} has {len(units)} {unit}, and the model takes at most {length - 1} before "
                f"the end: shorten it, or set length={longest + 1} (--set data.length={longest + 1})."
            )
    rows = np.full((len(found), length), END, dtype=np.uint32)
    for i, (_, units) in enumerate(found):
        rows[i, : len(units)] = units
    return rows


def pieces(units: np.ndarray, length: int, stride: int) -> np.ndarray:
    """Pieces (N, length) of a long text that begin every `stride` units: a view, which takes no memory."""
    return np.lib.stride_tricks.sliding_window_view(units, length)[::stride]


@dataclass(frozen=True, eq=False)
class Cut:
    """How the rows of a text were made: its unit, its tokenizer's JSON, and the whole of it where it is one text."""

    unit: Unit
    tokenizer: str | None
    units: np.ndarray | None


def in_order(raw: Raw, validation: float, test: float) -> list[Raw]:
    """One long text divided as it stands: training first, then validation, then test; no piece is in two of them."""
    cut, length = raw.text, raw.values.shape[1]
    assert cut is not None and cut.units is not None
    whole = len(raw.values)
    held = [max(1, round(whole * share)) if share else 0 for share in (validation, test)]
    if whole - sum(held) < 1:
        raise UserError(f"{raw.what} has {whole} pieces, too few to hold out {held[0]} and {held[1]}: give more text.")
    ends = np.cumsum([whole - sum(held), *held]) * length
    train = pieces(cut.units[: ends[0]], length, max(1, length // _OVERLAP))
    others = [raw.values[start // length : end // length] for start, end in itertools.pairwise(ends.tolist())]
    return [replace(raw, values=part) for part in (train, *others)]


def tokens_of(raws: list[Raw]) -> tuple[Tokens, tuple[str, ...]]:
    """The coding of texts: every unit that occurs in them."""
    cut, length = raws[0].text, raws[0].values.shape[1]
    assert cut is not None
    alphabet = np.unique(np.concatenate([np.unique(raw.values[:]) for raw in raws]))
    if len(alphabet) < 2:
        raise UserError(f"{raws[0].what} repeats one symbol, so there is nothing to learn.")
    ends = ", and the end of a line" if alphabet[-1] == END else ""
    coding = Tokens(cut.unit, tuple(alphabet.tolist()), length, cut.tokenizer)
    return coding, (f"{len(alphabet) - bool(ends)} different {cut.unit}{ends}; {length} in a piece",)
