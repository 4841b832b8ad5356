"""The roles of a table's columns: a feature to predict from, a response to predict; codes, units and checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pushforward.data import schema
from pushforward.data.checks import LARGEST
from pushforward.data.labels import in_order
from pushforward.errors import UserError

_FARTHEST = 1e6
"""Deviations of the training rows beyond which a number is of another unit, and nothing is known of its response."""
_FEW_CATEGORIES, _MOST_CATEGORIES = 20, 1000
_MOST_DECIMALS = 6


@dataclass(frozen=True)
class Feature:
    """One column of x: a number (x − offset)/scale, left out where it is constant, or one of some categories."""

    name: str
    offset: float = 0.0
    scale: float = 1.0
    constant: bool = False
    categories: tuple[str, ...] | None = None

    @property
    def width(self) -> int:
        """Columns in model units."""
        return len(self.categories) if self.categories is not None else 0 if self.constant else 1

    @staticmethod
    def of(name: str, column: np.ndarray, training: np.ndarray) -> Feature:
        """Measured on training rows; the categories are those of all rows."""
        if column.dtype.kind == "U":
            categories = tuple(in_order(set(column.tolist())))
            if len(categories) > _MOST_CATEGORIES or len(categories) > max(_FEW_CATEGORIES, len(column) / 2):
                raise UserError(
                    f"the column {name!r} has {len(categories)} different texts in {len(column)} rows, such as "
                    f"{str(column[0])!r}, and categories that come again were expected: leave out an identifier, and "
                    "give a date as numbers"
                )
            return Feature(name, categories=categories)
        check_magnitude(name, column)
        values = column[training]
        spread = float(values.std())
        fixed = not spread > 1e-12 * max(1.0, float(np.abs(values).max()))
        return Feature(name, float(values.mean()), 1.0 if fixed else spread, fixed)

    def codes(self, column: np.ndarray, what: str) -> np.ndarray:
        """The column as float64, categories by their place. Raises UserError for unknown ones."""
        if self.categories is None:
            if column.dtype.kind == "U":
                raise UserError(
                    f"the column {self.name!r} of {what} holds texts such as {str(column[0])!r}, and numbers were "
                    "expected, as in training"
                )
            return self._near(column, what)
        texts = column if column.dtype.kind == "U" else np.array([plain(v) for v in column.tolist()])
        places = {name: i for i, name in enumerate(self.categories)}
        unknown = sorted(set(texts.tolist()) - set(places))
        if unknown:
            shown = ", ".join(self.categories[:8]) + (", …" if len(self.categories) > 8 else "")
            raise UserError(
                f"the column {self.name!r} of {what} has the category {unknown[0]!r} that training never saw: it "
                f"knew {shown}. Give one of these, or train again with the new one"
            )
        return np.array([places[text] for text in texts.tolist()], dtype=np.float64)

    def _near(self, column: np.ndarray, what: str) -> np.ndarray:
        """The column, refused where numbers lie so far from the training rows that they cannot be of the same kind."""
        far = np.abs(column - self.offset) > _FARTHEST * self.scale
        if far.any() and not self.constant:
            raise UserError(
                f"{what} has {column[far.argmax()]:g} in the column {self.name!r}, which was {self.offset:g} ± "
                f"{self.scale:g} in training: nothing is known of a value so far from it; look at its unit"
            )
        return column

    def encode(self, codes: Tensor) -> Tensor:
        """float64 (N,) -> float32 (N, width)."""
        if self.categories is not None:
            return torch.nn.functional.one_hot(codes.long(), len(self.categories)).float()
        if self.constant:
            return codes.new_zeros(len(codes), 0).float()
        return ((codes - self.offset) / self.scale).float()[:, None]


def plain(value: float) -> str:
    """A number as the name of a class or category: whole ones without a point."""
    return str(int(value)) if float(value).is_integer() else str(value)


@dataclass(frozen=True)
class Response:
    """One number that is predicted: y = offset + scale · (model units). `step`: how finely it is written, 0: freely."""

    name: str
    offset: float
    scale: float
    step: float = 0.0

    @staticmethod
    def of(name: str, column: np.ndarray, training: np.ndarray, whole: bool) -> Response:
        """Measured on training rows. Raises UserError where it is text or does not vary."""
        if column.dtype.kind == "U":
            raise UserError(
                f"the response {name!r} holds texts such as {str(column[0])!r}: predict it as a class, or give numbers"
            )
        check_magnitude(name, column)
        values = column[training]
        if not float(np.ptp(values)) > 0:
            raise UserError(
                f"the response {name!r} is constant ({values[0]:g}) in all training rows: there is nothing to predict"
            )
        return Response(name, float(values.mean()), float(values.std()), 1.0 if whole else _step(column))


def check_magnitude(name: str, column: np.ndarray) -> None:
    """Raise UserError for a number whose square overflows."""
    large = np.abs(column) > LARGEST
    if large.any():
        row = int(large.argmax())
        raise UserError(
            f"the column {name!r} has {column[row]:g} in row {row}, and numbers below {LARGEST:.0e} were expected: "
            "correct it, or remove this row"
        )


def _step(column: np.ndarray) -> float:
    """The last decimal that all values share; 0 where they are written with more than six."""
    for places in range(_MOST_DECIMALS + 1):
        if np.allclose(np.round(column, places), column, rtol=0, atol=1e-12 * max(1.0, float(np.abs(column).max()))):
            return 10.0**-places
    return 0.0


def read_feature(stored: Any, where: str) -> Feature:
    """From its stored form, checked."""
    found = schema.fields(stored, where, ("name", "offset", "scale", "constant", "categories"))
    return Feature(
        schema.text(found["name"], f"{where}.name"),
        schema.number(found["offset"], f"{where}.offset"),
        schema.positive(found["scale"], f"{where}.scale"),
        schema.flag(found["constant"], f"{where}.constant"),
        schema.optional(schema.items(schema.text))(found["categories"], f"{where}.categories"),
    )


def read_response(stored: Any, where: str) -> Response:
    """From its stored form, checked."""
    found = schema.fields(stored, where, ("name", "offset", "scale", "step"))
    return Response(
        schema.text(found["name"], f"{where}.name"),
        schema.number(found["offset"], f"{where}.offset"),
        schema.positive(found["scale"], f"{where}.scale"),
        schema.number(found["step"], f"{where}.step"),
    )
