"""Discrete diffusion from its section: texts by a transformer, images by a U-Net, rows by a perceptron."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from pushforward.config.families.diffusion import levels_for
from pushforward.config.family_schema.discrete import DiscreteConfig
from pushforward.data.columns import Columns
from pushforward.data.dataset import Dataset
from pushforward.data.format import Format, Kind
from pushforward.data.numbers import is_integer
from pushforward.data.pixels import Pixels
from pushforward.data.tokens import Tokens
from pushforward.errors import UserError
from pushforward.models.discrete import Discrete, Symbols
from pushforward.models.family import Family
from pushforward.networks.integers import PictureLogits, RowLogits
from pushforward.networks.transformer import Transformer
from pushforward.paths.amounts import Amount, Constant, Geometric, LogLinear
from pushforward.paths.generators import Absorbing, BirthDeath, Generator, UniformJumps, gaussian_jumps
from pushforward.paths.jump import JumpPath

_MOST = 4096
"""Different values of a pixel or column that are learned as symbols."""
_WIDTH = {Kind.TEXT: 128, Kind.IMAGE: 32}
_DEPTH = {Kind.TEXT: 4, Kind.IMAGE: 1}


def resolve(config: DiscreteConfig, data: Dataset) -> DiscreteConfig:
    """With rates and sizes chosen. Raises UserError for data that are not whole numbers of a few values."""
    return resolve_for(config, data.format, data.name)


def resolve_for(config: DiscreteConfig, form: Format, name: str) -> DiscreteConfig:
    """As `resolve`, for items of a form, called by a name."""
    sizes = sizes_of(form, name)
    rates = "absorbing" if config.rates == "auto" else config.rates
    if rates != "absorbing" and len(set(sizes)) > 1:
        raise UserError(
            f"the columns of {name} have different numbers of values, and {rates} rates mix all of them: leave "
            "out model.rates"
        )
    timed = rates != "absorbing" if config.timed is None else config.timed
    if not timed and rates != "absorbing":
        raise UserError(f"model.timed=false needs absorbing rates; these are {rates}")
    changes: dict[str, Any] = {
        "rates": rates,
        "timed": timed,
        "width": config.width or _WIDTH.get(form.kind, 128),
        "depth": config.depth or _DEPTH.get(form.kind, 3),
    }
    return config.model_copy(update=changes)


def build(config: DiscreteConfig, form: Format, classes: int) -> Family:
    """The model of a resolved section."""
    sizes = sizes_of(form)
    symbols = max(sizes)
    generator, amount = process(config.rates, symbols)
    equal = len(set(sizes)) == 1
    return Discrete(
        _network(config, form, generator, classes or None),
        JumpPath(generator, amount),
        form.shape,
        units=units_of(form),
        sizes=None if equal else torch.tensor(sizes),
        timeless=not config.timed,
        by_count=config.by_count,
        auxiliary=config.auxiliary,
        num_classes=classes,
        label_dropout=config.label_dropout,
    )


def describe(config: DiscreteConfig) -> str:
    """How symbols are corrupted and what the network is."""
    return f"{config.rates} jumps, width {config.width}, depth {config.depth}"


def process(rates: str, symbols: int) -> tuple[Generator, Amount]:
    """The chain of a name, and how much of it there is: at t = 1 all is forgotten, or as published."""
    match rates:
        case "uniform":
            return UniformJumps(symbols), Constant(8.0)
        case "birth-death":
            generator = BirthDeath(symbols)
            return generator, Geometric(6.0 / generator.gap / 999.0, 1000.0)
        case "gaussian":
            made = gaussian_jumps(symbols, max(1.0, 6.0 * symbols / 256), 2.0 * symbols)
            return made, Geometric(6.0 / made.gap / 99.0, 100.0)
    return Absorbing(symbols), LogLinear()


def sizes_of(form: Format, what: str = "the data") -> tuple[int, ...]:
    """How many symbols each site has; one number where all sites are alike. Raises UserError for other data."""
    coding = form.coding
    if isinstance(coding, Tokens):
        return (coding.symbols,)
    if isinstance(coding, Pixels):
        counts = [round(coding.high - coding.low) + 1] if is_integer(coding.dtype) else [0]
    else:
        counts = [_size(coding, i) for i in coding.varying] if isinstance(coding, Columns) else [0]
    if min(counts) < 2 or max(counts) > _MOST:
        raise UserError(
            f"{what} holds real numbers, or whole numbers of more than {_MOST} values, and discrete models learn "
            "symbols: use --family diffusion, or for tables --family mixed"
        )
    return tuple(counts)


def _size(coding: Columns, i: int) -> int:
    if coding.categories is not None and coding.categories[i] is not None:
        return len(coding.categories[i] or ())
    return round(coding.high[i] - coding.low[i]) + 1 if is_integer(coding.dtypes[i]) else 0


def units_of(form: Format) -> Symbols | None:
    """How model units are symbols; None for texts, which are symbols."""
    coding = form.coding
    if isinstance(coding, Tokens):
        return None
    if isinstance(coding, Pixels):
        return Symbols((coding.scale,), (coding.offset - coding.low,))
    assert isinstance(coding, Columns)  # `sizes_of` has refused what has a response
    lows = [coding.low[i] for i in coding.varying]
    return Symbols(coding.scale, tuple(offset - low for offset, low in zip(coding.offset, lows, strict=True)))


def _network(config: DiscreteConfig, form: Format, generator: Generator, classes: int | None) -> nn.Module:
    states, symbols, width, depth = generator.states, generator.symbols, config.width or 128, config.depth or 3
    if form.kind is Kind.TEXT:
        return Transformer(states, symbols, form.shape[0], width, depth, None, classes, config.dropout)
    if form.kind is Kind.IMAGE:
        levels = levels_for(form.shape)
        return PictureLogits(form.shape[0], states, symbols, width, levels, depth, classes, config.dropout)
    return RowLogits(form.shape[0], states, symbols, width, depth, classes, config.dropout)
