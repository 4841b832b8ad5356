"""Exact estimates of discrete data: of a table of probabilities over few states, and of independent sites."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from pushforward.denoisers.categorical import JumpDenoiser
from pushforward.errors import UserError
from pushforward.numerics.counting import categorical
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import Level
from pushforward.paths.jump import JumpPath

_LARGEST = 1 << 20


class TableDenoiser(JumpDenoiser):
    """The truth for data with p(x_0) in a table of D axes of S symbols: float64, every site given all others.

    Raises UserError for a table that is not a law over the path's symbols, or too large.
    """

    def __init__(self, table: Tensor, path: JumpPath) -> None:
        symbols = path.generator.symbols
        if any(side != symbols for side in table.shape) or table.numel() > _LARGEST:
            raise UserError(
                f"the table must have axes of {symbols} symbols and at most {_LARGEST} entries; got "
                f"{tuple(table.shape)}"
            )
        if bool((table < 0).any()) or not math.isclose(float(table.sum()), 1, abs_tol=1e-6):
            raise UserError("the entries of the table must not be negative and must sum to 1")
        self.table, self.path = table.double() / table.double().sum(), path
        self.timeless = path.generator.states > symbols  # what is not masked is certain, whatever the time

    @property
    def sites(self) -> int:
        return self.table.ndim

    @property
    def entropy(self) -> float:
        """H(p_0) in nats."""
        p = self.table[self.table > 0]
        return float(-(p * p.log()).sum())

    def sample(self, draws: Draws) -> Tensor:
        """Draws of x_0: int64 (B, D)."""
        flat = categorical(self.table.flatten().expand(len(draws), -1), draws)
        return torch.stack(torch.unravel_index(flat, self.table.shape), -1)

    def outside(self, x: Tensor, level: Level) -> Tensor:
        # what is masked says nothing and what is seen all, at any time; at the last one nothing is seen by chance
        seen = self.path.likelihood(x, self.path.level(self.path.t_min) if self.timeless else level)
        found = []
        for site in range(self.sites):
            joint = self.table.expand(len(x), *self.table.shape)
            for other in (o for o in range(self.sites) if o != site):
                shape = [len(x)] + [1] * self.sites
                shape[1 + other] = -1
                joint = joint * seen[:, other].reshape(shape)
            found.append(joint.sum([1 + o for o in range(self.sites) if o != site]) if self.sites > 1 else joint)
        return torch.log(torch.stack(found, 1))


class IndependentDenoiser(JumpDenoiser):
    """The truth for independent sites: laws (D, S). What other sites show says nothing."""

    timeless = True

    def __init__(self, laws: Tensor, path: JumpPath) -> None:
        if laws.ndim != 2 or laws.shape[1] != path.generator.symbols or bool((laws < 0).any()):
            raise UserError(
                f"laws of sites are rows of {path.generator.symbols} numbers that are not negative; got "
                f"{tuple(laws.shape)}"
            )
        self.laws, self.path = functional.normalize(laws.double(), p=1, dim=1), path

    def outside(self, x: Tensor, level: Level) -> Tensor:
        return torch.log(self.laws).expand(len(x), *self.laws.shape)
