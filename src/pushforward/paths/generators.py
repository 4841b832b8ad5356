"""Generators of jump processes: matrices R of rates (rows sum to 0) whose exponentials q_c = e^{cR} are applied.

Row x of R holds the rates of leaving x, so q_c(y | x) = (e^{cR})_{xy}. What is needed of q is its action on vectors
(`push`) and its columns (`column`). Where they have a closed form no S × S matrix is ever made: 50,000 tokens cost
what a vector of 50,000 costs.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from pushforward.errors import UserError
from pushforward.numerics.broadcast import Scalar, expand
from pushforward.numerics.counting import categorical
from pushforward.numerics.random import Draws

_DENSE = 4096
"""States of which matrices are made: 128 MiB each at this size."""

_KEPT = 1e-300
"""What is kept of a symbol at least, so that one that was put where all are masked is still read as what it is."""


class Generator(ABC):
    """Rates on `states` states, the first `symbols` of which are those of data.

    c is a number or one per sample (B,); states are int64 (B, …), vectors over states (B, …, S).
    """

    symbols: int

    @property
    def states(self) -> int:
        """How many states the chain has: those of data, and perhaps a mask after them."""
        return self.symbols

    @abstractmethod
    def push(self, weights: Tensor, c: Scalar) -> Tensor:
        """Σ_x w(x) q_c(y | x) for weights of the symbols: (B, …, symbols) -> (B, …, states)."""

    @abstractmethod
    def column(self, x: Tensor, c: Scalar) -> Tensor:
        """q_c(x | y) for every y, float64: (B, …) -> (B, …, states)."""

    @abstractmethod
    def into(self, x: Tensor) -> Tensor:
        """R(y, x) for every y ≠ x, and 0 at x, float64: (B, …) -> (B, …, states)."""

    @abstractmethod
    def out(self, x: Tensor) -> Tensor:
        """R(x, y) for every y ≠ x, and 0 at x, float64: (B, …) -> (B, …, states)."""

    @abstractmethod
    def limit(self) -> Tensor:
        """The law that the chain tends to, float64 (states,)."""

    @property
    def gap(self) -> float:
        """How fast the chain forgets what it remembers longest: the smallest rate other than 0 in its spectrum."""
        return 1.0

    def corrupt(self, x: Tensor, c: Scalar, draws: Draws) -> Tensor:
        """A draw of q_c(· | x): int64 (B, …) -> (B, …)."""
        return categorical(self.push(functional.one_hot(x, self.symbols).double(), c), draws)

    def transition(self, c: float) -> Tensor:
        """q_c(y | x) as a matrix (symbols, states), for few states. Raises UserError for many."""
        if self.states > _DENSE:
            raise UserError(f"a matrix of transitions between {self.states} states is too large; use push and column")
        return self.push(torch.eye(self.symbols, dtype=torch.float64), c)


@dataclass(frozen=True)
class UniformJumps(Generator):
    """At rate 1 the state is drawn anew, all alike: R = 11ᵀ/S − I, q_c = e^{−c} I + (1 − e^{−c}) 11ᵀ/S."""

    symbols: int

    def __post_init__(self) -> None:
        _check_symbols(self.symbols)

    def push(self, weights: Tensor, c: Scalar) -> Tensor:
        kept, renewed = _shares(c, weights)
        return kept * weights + renewed / self.symbols * weights.sum(-1, keepdim=True)

    def column(self, x: Tensor, c: Scalar) -> Tensor:
        return self.push(functional.one_hot(x, self.symbols).double(), c)  # q is symmetric

    def into(self, x: Tensor) -> Tensor:
        return (1 - functional.one_hot(x, self.symbols).double()) / self.symbols

    def out(self, x: Tensor) -> Tensor:
        return self.into(x)

    def limit(self) -> Tensor:
        return torch.full((self.symbols,), 1 / self.symbols, dtype=torch.float64)

    def corrupt(self, x: Tensor, c: Scalar, draws: Draws) -> Tensor:
        renew = draws.at("renew").uniform(x.shape[1:], torch.float64) < _shares(c, x.double())[1]
        return torch.where(renew, draws.at("state").integers(self.symbols, x.shape[1:]), x)


@dataclass(frozen=True)
class Absorbing(Generator):
    """At rate 1 a symbol becomes the mask, state number `symbols`, and stays it: what is left is e^{−c}."""

    symbols: int

    def __post_init__(self) -> None:
        _check_symbols(self.symbols)

    @property
    def states(self) -> int:
        return self.symbols + 1

    @property
    def mask(self) -> int:
        """The state of a masked site."""
        return self.symbols

    def push(self, weights: Tensor, c: Scalar) -> Tensor:
        kept, masked = _shares(c, weights)
        return torch.cat((kept * weights, masked * weights.sum(-1, keepdim=True)), -1)

    def column(self, x: Tensor, c: Scalar) -> Tensor:
        at = functional.one_hot(x, self.states).double()
        kept, masked = _shares(c, at)
        kept = torch.as_tensor(kept, dtype=torch.float64).clamp(min=_KEPT)
        hidden = at[..., -1:]
        return torch.cat((kept * at[..., :-1] + masked * hidden, hidden), -1)

    def into(self, x: Tensor) -> Tensor:
        hidden = (x == self.mask).double().unsqueeze(-1)
        return torch.cat((hidden.expand(*x.shape, self.symbols), torch.zeros_like(hidden)), -1)

    def out(self, x: Tensor) -> Tensor:
        shown = (x != self.mask).double().unsqueeze(-1)
        return torch.cat((torch.zeros_like(shown).expand(*x.shape, self.symbols), shown), -1)

    def limit(self) -> Tensor:
        return functional.one_hot(torch.tensor(self.mask), self.states).double()

    def corrupt(self, x: Tensor, c: Scalar, draws: Draws) -> Tensor:
        hide = draws.uniform(x.shape[1:], torch.float64) < _shares(c, x.double())[1]
        return torch.where(hide, self.mask, x)


@dataclass(frozen=True)
class BirthDeath(Generator):
    """To each neighbour at rate 1, reflected at both ends: diffusion of ordered states.

    Eigenvalues −2 + 2 cos(πk/S), k = 0 … S − 1, with cosines as eigenvectors (DCT-II); applied by a Fourier transform
    of the vector and its mirror image.
    """

    symbols: int

    def __post_init__(self) -> None:
        _check_symbols(self.symbols)

    def push(self, weights: Tensor, c: Scalar) -> Tensor:
        double = weights.double()
        spectrum = torch.fft.rfft(torch.cat((double, double.flip(-1)), -1))
        k = torch.arange(self.symbols + 1, dtype=torch.float64, device=weights.device)
        eigenvalues = 2 * torch.cos(math.pi * k / self.symbols) - 2
        gain = torch.exp(expand(c, double) * eigenvalues)
        mirrored = torch.fft.irfft(spectrum * gain, n=2 * self.symbols)
        return mirrored[..., : self.symbols].clamp(min=0)

    @property
    def gap(self) -> float:
        return 2 - 2 * math.cos(math.pi / self.symbols)

    def column(self, x: Tensor, c: Scalar) -> Tensor:
        return self.push(functional.one_hot(x, self.symbols), c)  # q is symmetric

    def into(self, x: Tensor) -> Tensor:
        below = functional.one_hot((x - 1).clamp(min=0), self.symbols).double() * (x > 0).double().unsqueeze(-1)
        above = functional.one_hot((x + 1).clamp(max=self.symbols - 1), self.symbols).double()
        return below + above * (x < self.symbols - 1).double().unsqueeze(-1)

    def out(self, x: Tensor) -> Tensor:
        return self.into(x)

    def limit(self) -> Tensor:
        return torch.full((self.symbols,), 1 / self.symbols, dtype=torch.float64)


class Reversible(Generator):
    """Any rates that a law π leaves in balance, π(x) R(x, y) = π(y) R(y, x): (S, S), up to 4096 states.

    With D = diag(π), D^½ R D^−½ is symmetric, so its eigenvectors are orthogonal and q_c is exact for all c at once.
    Raises UserError for rates that are not in balance, or no numbers.
    """

    def __init__(self, rates: Tensor, law: Tensor) -> None:
        rates, law = rates.double(), law.double() / law.double().sum()
        self.symbols = len(law)
        _check_symbols(self.symbols)
        if self.symbols > _DENSE or rates.shape != (self.symbols, self.symbols):
            raise UserError(
                f"rates must be a square matrix of at most {_DENSE} states, one for each entry of the law; got "
                f"{tuple(rates.shape)} and {self.symbols} entries"
            )
        if not bool((law > 0).all()) or not bool(torch.isfinite(rates).all()):
            raise UserError("rates must be finite and their law above 0 for every state")
        off = rates - torch.diag(rates.diagonal())
        flow = law[:, None] * off
        if float((flow - flow.T).abs().max()) > 1e-9 * float(flow.abs().max()) or float(off.min()) < 0:
            raise UserError("the rates are not in balance under the law, π(x)R(x, y) = π(y)R(y, x) ≥ 0")
        self.off, self.law = off, law

    @cached_property
    def _spectrum(self) -> tuple[Tensor, Tensor, Tensor]:
        """Eigenvalues (S,), right and left eigenvectors (S, S): q_c = right · diag(e^{c λ}) · leftᵀ."""
        root = self.law.sqrt()[:, None]
        symmetric = root * (self.off - torch.diag(self.off.sum(1))) / root.T
        values, vectors = torch.linalg.eigh((symmetric + symmetric.T) / 2)
        return values.clamp(max=0.0), vectors / root, vectors * root

    @property
    def gap(self) -> float:
        return float(-self._spectrum[0][-2])

    def push(self, weights: Tensor, c: Scalar) -> Tensor:
        values, right, left = (part.to(weights.device) for part in self._spectrum)
        along = weights.double() @ right
        return ((along * torch.exp(expand(c, along) * values)) @ left.T).clamp(min=0)

    def column(self, x: Tensor, c: Scalar) -> Tensor:
        law = self.law.to(x.device)
        reached = self.push(functional.one_hot(x, self.symbols), c)  # q(y | x) = q(x | y) π(y)/π(x)
        return reached * (law[x].unsqueeze(-1) / law)

    def into(self, x: Tensor) -> Tensor:
        return self.off.T.to(x.device)[x]

    def out(self, x: Tensor) -> Tensor:
        return self.off.to(x.device)[x]

    def limit(self) -> Tensor:
        return self.law


def gaussian_jumps(symbols: int, reach: float = 6.0, width: float = 512.0) -> Reversible:
    """Rates exp(−(|x − y| − 1)²/reach²) towards the middle, less outward, with a discrete Gaussian as their law.

    π(x) ∝ exp(−((x + 1) − S/2)²/(2 width²)); R(x, y) is multiplied by min(1, π(y)/π(x)). Campbell et al. 2022 take
    reach 6 and width 512 for 256 levels of a pixel.
    """
    x = torch.arange(symbols, dtype=torch.float64, device="cpu")  # also where models are made without memory
    law = torch.exp(-((x + 1 - symbols / 2) ** 2) / (2 * width**2))
    apart = (x[:, None] - x).abs()
    off = torch.exp(-((apart - 1) ** 2) / reach**2) * torch.clamp(law / law[:, None], max=1.0)
    return Reversible(off - torch.diag(off.diagonal()), law)


def _shares(c: Scalar, like: Tensor) -> tuple[Scalar, Scalar]:
    """What is kept, e^{−c}, and what is not."""
    if not isinstance(c, Tensor):
        return math.exp(-c), -math.expm1(-c)
    c = c.double()
    return expand(torch.exp(-c), like), expand(-torch.expm1(-c), like)


def _check_symbols(symbols: int) -> None:
    if symbols < 2:
        raise UserError(f"a jump process needs at least 2 symbols; got {symbols}: there is nothing to learn")
