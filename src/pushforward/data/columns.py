"""Vectors and tables: columns to model units (mean 0, standard deviation 1) and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pushforward.data import schema
from pushforward.data.labels import is_number
from pushforward.data.numbers import COLUMN_DTYPES, as_tensor, finite_numpy, is_integer, to_dtype
from pushforward.errors import UserError

_TEXT = "str"
"""The dtype of a column of text categories."""
_LISTS = ("dtypes", "offset", "scale", "low", "high", "constants", "decimals")


@dataclass(frozen=True)
class Columns:
    """x_j = (v_j − offset_j) / scale_j for the columns that vary; constant columns are left out and put back.

    `names` is None for plain arrays. `dtypes` has the type of each column, `dtype` that of the whole array (a table is
    held as float64). `low` and `high` are the extremes of the data given: integer columns are clipped to them.
    `constants` has the value of each constant column, None for one that varies. `decimals` has how many digits after
    the point a real column is written with, to which decoding rounds, None where that is not limited. `categories` has
    the names of a column's codes, 0 upwards, None for a column of numbers; codes are their own model units, and
    `dtypes` has the type of the names. All lists are over all columns, except `offset` and `scale`, which are over
    those that vary.
    """

    names: tuple[str, ...] | None
    dtypes: tuple[str, ...]
    dtype: str
    offset: tuple[float, ...]
    scale: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    constants: tuple[float | None, ...]
    decimals: tuple[int | None, ...]
    categories: tuple[tuple[str, ...] | None, ...] | None = None

    @property
    def coded(self) -> list[int]:
        """The columns whose numbers are codes of categories."""
        return [] if self.categories is None else [i for i, names in enumerate(self.categories) if names is not None]

    def named(self, values: np.ndarray, column: int) -> np.ndarray:
        """Values (N,) of a column in its own dtype, with the names of categories in the place of their codes."""
        names = None if self.categories is None else self.categories[column]
        dtype = self.dtypes[column]
        if names is None:
            return values.astype(dtype)
        found = np.array(names, dtype=np.str_)[values.astype(np.int64)]
        return found if dtype == _TEXT else found.astype(dtype)

    @property
    def varying(self) -> list[int]:
        return [i for i, value in enumerate(self.constants) if value is None]

    @property
    def shape(self) -> tuple[int]:
        return (len(self.offset),)

    @property
    def item_shape(self) -> tuple[int]:
        return (len(self.dtypes),)

    def encode(self, values: np.ndarray) -> Tensor:
        """(N, columns) in the user's numbers -> float32 (N, D), D the number of columns that vary."""
        if values.shape[1:] != self.item_shape:
            given = " × ".join(map(str, values.shape))
            named = (
                "" if self.names is None else f" ({', '.join(self.names[:8])}{', …' if len(self.names) > 8 else ''})"
            )
            raise UserError(
                f"An array of {given} was given, and rows of {self.item_shape[0]} columns{named} were expected: "
                "give the columns that the model was trained on."
            )
        tensor = as_tensor(values).to(torch.float64)
        if len(self.offset) < len(self.dtypes):
            tensor = tensor[:, self.varying]
        offset, scale = (torch.tensor(numbers, dtype=torch.float64) for numbers in (self.offset, self.scale))
        return ((tensor - offset) / scale).to(torch.float32)

    def decode(self, x: Tensor) -> np.ndarray:
        """float (N, D) -> (N, columns) in the user's dtype; integer columns rounded and clipped, constants put back."""
        if tuple(x.shape[1:]) != self.shape:
            raise UserError(f"Items of shape {tuple(x.shape[1:])} were given to a format of {self.shape[0]} columns.")
        values = finite_numpy(x) * np.asarray(self.scale) + np.asarray(self.offset)
        full = np.empty((len(values), len(self.dtypes)))
        full[:, self.varying] = values
        for i, constant in enumerate(self.constants):
            if constant is not None:
                full[:, i] = constant
        counted = [i for i, dtype in enumerate(self.dtypes) if is_integer(dtype)]
        low, high = np.asarray(self.low)[counted], np.asarray(self.high)[counted]
        full[:, counted] = np.clip(np.rint(full[:, counted]), low, high)
        for i, decimals in enumerate(self.decimals):
            if decimals is not None:
                full[:, i] = np.round(full[:, i], decimals)
        return to_dtype(full, self.dtype)

    def to_dict(self) -> dict[str, Any]:
        lists = {name: list(getattr(self, name)) for name in _LISTS}
        found = {**lists, "names": None if self.names is None else list(self.names), "dtype": self.dtype}
        if self.categories is not None:
            found["categories"] = [None if names is None else list(names) for names in self.categories]
        return found

    @staticmethod
    def from_dict(stored: Any, where: str = "columns") -> Columns:
        coded = isinstance(stored, dict) and "categories" in stored
        found = schema.fields(stored, where, ("names", "dtype", *_LISTS, *(("categories",) if coded else ())))
        dtypes = schema.items(schema.one_of(*COLUMN_DTYPES, *((_TEXT,) if coded else ())))(
            found["dtypes"], f"{where}.dtypes"
        )
        count = len(dtypes)
        constants = schema.items(schema.optional(schema.number), count)(found["constants"], f"{where}.constants")
        varying = sum(value is None for value in constants)
        if not varying:
            raise schema.wrong(f"{where}.constants", found["constants"], "at least one column that varies")
        labels = schema.optional(schema.items(schema.text, count))(found["names"], f"{where}.names")
        if labels is not None and len(set(labels)) < count:
            raise schema.wrong(f"{where}.names", found["names"], "a list without repeats")
        low = schema.items(schema.number, count)(found["low"], f"{where}.low")
        high = schema.items(schema.number, count)(found["high"], f"{where}.high")
        if any(a > b for a, b in zip(low, high, strict=True)):
            raise schema.wrong(f"{where}.high", found["high"], "numbers not below low")
        return Columns(
            names=labels,
            dtypes=dtypes,
            dtype=schema.one_of(*COLUMN_DTYPES)(found["dtype"], f"{where}.dtype"),
            offset=schema.items(schema.number, varying)(found["offset"], f"{where}.offset"),
            scale=schema.items(schema.positive, varying)(found["scale"], f"{where}.scale"),
            low=low,
            high=high,
            constants=constants,
            decimals=schema.items(schema.optional(schema.digits), count)(found["decimals"], f"{where}.decimals"),
            categories=_categories(found["categories"], where, low, high, dtypes) if coded else None,
        )


def _categories(
    stored: Any, where: str, low: tuple[float, ...], high: tuple[float, ...], dtypes: tuple[str, ...]
) -> tuple[tuple[str, ...] | None, ...]:
    found = schema.items(schema.optional(schema.items(schema.text)), len(dtypes))(stored, f"{where}.categories")
    for i, names in enumerate(found):
        place = f"{where}.categories[{i}]"
        if names is None:
            if dtypes[i] == _TEXT:
                raise schema.wrong(place, names, "the names of a column of text")
            continue
        if len(set(names)) < len(names) or low[i] < 0 or high[i] >= len(names):
            raise schema.wrong(place, list(names), "a different name for each code")
        if dtypes[i] != _TEXT and not all(is_number(name) for name in names):
            raise schema.wrong(place, list(names), "whole numbers (the column's type is one of numbers)")
    return found
