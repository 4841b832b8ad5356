"""Text as symbols: characters, bytes or a tokeniser's tokens that occur in the data, numbered from 0, and back."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pushforward.data import schema
from pushforward.data.tokenizer import Tokenizer
from pushforward.errors import UserError

END = 0xFFFFFFFF
"""The unit after the last one of an item that is shorter than others: no character, byte or token has this number."""
LONGEST = 1 << 20


class Unit(StrEnum):
    """What a text is cut into."""

    CHARACTER = "characters"
    BYTE = "bytes"
    TOKEN = "tokens"


@dataclass(frozen=True)
class Tokens:
    """Sequences of `length` units; `alphabet` holds, in order, the number of each that occurs.

    A unit's number is its code point, byte, or token; END among them says that items end. `tokenizer` is the JSON of a
    Hugging Face tokenizer where units are tokens.
    """

    unit: Unit
    alphabet: tuple[int, ...]
    length: int
    tokenizer: str | None = None

    @property
    def symbols(self) -> int:
        return len(self.alphabet)

    @property
    def ends(self) -> bool:
        """Whether items end before the full length."""
        return self.alphabet[-1] == END

    @property
    def shape(self) -> tuple[int]:
        return (self.length,)

    @property
    def item_shape(self) -> tuple[int, ...]:
        """Of one item in the user's form, a text."""
        return ()

    dtype = "str"
    scale = 1.0
    offset = 0.0

    @cached_property
    def _sorted(self) -> np.ndarray:
        return np.array(self.alphabet, dtype=np.uint32)

    def encode(self, values: np.ndarray) -> Tensor:
        """Texts (N,), or their units (N, length), to symbols: int64 (N, length). Raises UserError for unknown ones.

        Texts that are shorter are filled with END, where the data have ends.
        """
        if values.dtype.kind in "UO":
            values = np.stack([self.units(str(text)) for text in values]) if len(values) else values.reshape(0, 0)
        return torch.from_numpy(self.index(values))

    def units(self, text: str) -> np.ndarray:
        """The units of a whole text, to the full length: uint32 (length,). Raises UserError for one that is longer."""
        found = units_of(text, self.unit, self.tokenizer)
        if len(found) > self.length:
            raise UserError(
                f"a text of {len(found)} {self.unit} is longer than the model's {self.length}: cut it, or train with "
                f"--set data.length={len(found)}"
            )
        if len(found) < self.length and not self.ends:
            raise UserError(
                f"a text of {len(found)} {self.unit} is shorter than the model's {self.length}, which learned pieces "
                "of one long text: give a longer one"
            )
        return np.concatenate((found, np.full(self.length - len(found), END, dtype=np.uint32)))

    def index(self, units: np.ndarray) -> np.ndarray:
        """Symbols of units of any shape: int64. Raises UserError, showing the unit, for one that is not known."""
        units = np.asarray(units)
        places = np.searchsorted(self._sorted, units)
        wrong = self._sorted[np.minimum(places, len(self._sorted) - 1)] != units
        if wrong.any():
            unit = int(units[wrong][0])
            raise UserError(
                f"{self.name(unit)} is not among the {self.symbols} {self.unit} of the training data: remove it, or "
                "train on data that has it"
            )
        return places.astype(np.int64)

    def name(self, unit: int) -> str:
        """A unit as it is shown to people."""
        if unit == END:
            return "the end of a text"
        if self.unit is Unit.CHARACTER:
            return f"the character {chr(unit)!r} (U+{unit:04X})"
        return f"the {'byte' if self.unit is Unit.BYTE else 'token'} {unit}"

    def decode(self, x: Tensor) -> np.ndarray:
        """Symbols int64 (N, any length) -> texts: str (N,), each up to its end."""
        units = self._sorted[x.cpu().numpy()]
        return np.array([self.text(row) for row in units], dtype=np.str_)

    def text(self, units: np.ndarray) -> str:
        """The text of units (L,), up to the first END."""
        ends = np.flatnonzero(units == END)
        units = units[: ends[0]] if len(ends) else units
        if self.unit is Unit.CHARACTER:
            return units.astype("<u4").tobytes().decode("utf-32-le", errors="replace")
        if self.unit is Unit.BYTE:
            return units.astype(np.uint8).tobytes().decode("utf-8", errors="replace")
        return Tokenizer.of_json(self.tokenizer or "").decode(units.tolist())

    def to_dict(self) -> dict[str, Any]:
        return {
            "unit": self.unit.value,
            "alphabet": list(self.alphabet),
            "length": self.length,
            "tokenizer": self.tokenizer,
        }

    @staticmethod
    def from_dict(stored: Any, where: str = "tokens") -> Tokens:
        found = schema.fields(stored, where, ("unit", "alphabet", "length", "tokenizer"))
        alphabet = schema.items(_unit)(found["alphabet"], f"{where}.alphabet")
        if len(alphabet) < 2 or any(a >= b for a, b in itertools.pairwise(alphabet)):
            raise schema.wrong(f"{where}.alphabet", found["alphabet"], "at least two rising numbers")
        length = schema.side(found["length"], f"{where}.length")
        if length > LONGEST:
            raise schema.wrong(f"{where}.length", length, f"a length of at most {LONGEST:,}")
        unit = Unit(schema.one_of(*Unit)(found["unit"], f"{where}.unit"))
        tokenizer = schema.optional(schema.text)(found["tokenizer"], f"{where}.tokenizer")
        if (tokenizer is None) == (unit is Unit.TOKEN):
            raise schema.wrong(f"{where}.tokenizer", tokenizer, "a tokenizer where units are tokens, and only there,")
        limit = {Unit.CHARACTER: 0x10FFFF, Unit.BYTE: 255, Unit.TOKEN: END - 1}[unit]
        if any(limit < number < END for number in alphabet):
            raise schema.wrong(f"{where}.alphabet", max(alphabet), f"numbers of {unit.value}")
        return Tokens(unit, alphabet, length, tokenizer)


def _unit(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= END:
        raise schema.wrong(where, value, "a whole number below 2³²")
    return value


def units_of(text: str, unit: Unit, tokenizer: str | None = None) -> np.ndarray:
    """A text cut into units: uint32 (L,)."""
    if unit is Unit.CHARACTER:
        return np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), dtype="<u4").astype(np.uint32)
    if unit is Unit.BYTE:
        return np.frombuffer(text.encode("utf-8", errors="surrogatepass"), dtype=np.uint8).astype(np.uint32)
    return np.array(Tokenizer.of_json(tokenizer or "").encode(text), dtype=np.uint32)
