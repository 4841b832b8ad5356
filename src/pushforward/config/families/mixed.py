"""Mixed tables from their section."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pushforward.config.family_schema.mixed import MixedConfig
from pushforward.data.columns import Columns
from pushforward.data.dataset import Dataset, Split
from pushforward.data.format import Format
from pushforward.data.quantiles import KNOTS, knots_of
from pushforward.errors import UserError
from pushforward.models.family import Family
from pushforward.models.mixed import Mixed
from pushforward.networks.mixed import MixedRows
from pushforward.paths.amounts import Amount, Constant, LogLinear
from pushforward.paths.generators import Absorbing, Generator, UniformJumps
from pushforward.paths.jump import JumpPath

_MEASURED = 20_000
"""Training rows from which quantiles are taken."""


def resolve(config: MixedConfig, data: Dataset) -> MixedConfig:
    """With sizes chosen. Raises UserError for data that are not tables of numbers and categories."""
    sizes = places(data.format, data.name)[2]
    if config.rates == "uniform" and len(set(sizes)) > 1:
        raise UserError(
            f"the categories of {data.name} are of different numbers, and uniform rates mix all of them: leave out "
            "model.rates"
        )
    changes: dict[str, Any] = {"width": config.width or 256, "depth": config.depth or 4}
    return config.model_copy(update=changes)


def build(config: MixedConfig, form: Format, classes: int, items: Split | None) -> Family:
    """The model of a resolved section; its quantiles are those of the training rows."""
    numbers, codes, sizes = places(form, "the data")
    symbols = max(2, *sizes)
    generator: Generator = UniformJumps(symbols) if config.rates == "uniform" else Absorbing(symbols)
    amount: Amount = Constant(8.0) if config.rates == "uniform" else LogLinear()
    width, depth = config.width or 256, config.depth or 4
    network = MixedRows(
        len(numbers), len(codes), generator.states, symbols, width, depth, classes or None, config.dropout
    )
    path = JumpPath(generator, amount)
    return Mixed(network, path, numbers, codes, sizes, _knots(numbers, items), classes, config.label_dropout)


def describe(config: MixedConfig) -> str:
    """What the two parts are."""
    return f"Gaussian numbers and {config.rates} categories, width {config.width}, depth {config.depth}"


def places(form: Format, what: str) -> tuple[list[int], list[int], list[int]]:
    """Places of numbers and of codes in model units, and the number of categories of each code."""
    coding = form.coding
    if not isinstance(coding, Columns):
        raise UserError(f"{what} is no table, and mixed models are of tables: use another family")
    coded = set(coding.coded)
    numbers = [place for place, column in enumerate(coding.varying) if column not in coded]
    codes = [place for place, column in enumerate(coding.varying) if column in coded]
    if not codes:
        raise UserError(
            f"{what} has no categories: use --family diffusion, or name them with --set data.categories=[…]"
        )
    if not numbers:
        raise UserError(f"{what} has no numbers, only categories: use --family discrete")
    return numbers, codes, [_size(coding, column) for column in coding.varying if column in coded]


def _size(coding: Columns, column: int) -> int:
    names: Sequence[str] | None = coding.categories[column] if coding.categories else None
    return len(names or ())


def _knots(numbers: list[int], items: Split | None) -> Tensor:
    if items is None:  # a model that is about to be given its stored numbers
        return torch.zeros(len(numbers), KNOTS, dtype=torch.float64)
    rows = torch.linspace(0, len(items) - 1, min(len(items), _MEASURED), device="cpu").long()
    return knots_of(items.batch(rows).values[:, numbers])
