"""The divergence tr ∂f/∂x of a field whose samples do not see each other: exact, or by random probes.

Both take one forward pass and vector-Jacobian products of it; several at once are batched, which bounds the memory by
`chunk` backward passes; where a field has an operation that `torch.vmap` does not know, they follow one another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.numerics.random import Draws

SpaceField = Callable[[Tensor], Tensor]
"""f: (b, …) -> (b, …), sample by sample."""

Trace = Callable[[SpaceField, Tensor, Tensor | None], tuple[Tensor, Tensor]]
"""(f, x, rows) -> f(x) and float64 estimates of its divergence (b, k), one column per probe, for these samples."""

Law = Callable[[Draws, Sequence[int], torch.dtype], Tensor]
"""Probes (B, *shape) with mean 0 and covariance I."""


class Divergence(Protocol):
    """A rule to compute divergences, before it has seen a batch."""

    @property
    def method(self) -> str:
        """What a report calls it."""
        ...

    @property
    def columns(self) -> int:
        """How many estimates a trace gives per sample."""
        ...

    def of(self, x: Tensor) -> Trace:
        """The trace for this batch (B, …): whatever is random is drawn here once and for all."""
        ...

    def rows(self, index: Tensor) -> Divergence:
        """The same for some of the samples."""
        ...

    def at(self, *parts: int | str) -> Divergence:
        """The same with other random numbers, e.g. for a repetition."""
        ...


def rademacher(draws: Draws, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Probes of ±1: the smallest variance among laws of independent coordinates (Hutchinson 1989)."""
    return draws.integers(2, shape).to(dtype).mul_(2).sub_(1)


def gaussian(draws: Draws, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Standard normal probes."""
    return draws.normal(shape, dtype)


def _pull(value: Tensor, x: Tensor, directions: Tensor, keep: bool) -> Tensor:
    """εᵀ ∂f/∂x for directions (k, b, …)."""
    if len(directions) == 1:
        return torch.autograd.grad(value, x, directions[0], retain_graph=keep)[0].unsqueeze(0)
    try:
        return torch.autograd.grad(value, x, directions, retain_graph=True, is_grads_batched=True)[0]
    except RuntimeError:  # vmap does not know an operation, such as one in NumPy
        each = [torch.autograd.grad(value, x, direction, retain_graph=True)[0] for direction in directions[:-1]]
        return torch.stack([*each, torch.autograd.grad(value, x, directions[-1], retain_graph=keep)[0]])


def _forward(field: SpaceField, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.detach().clone().requires_grad_()
    value = field(x)
    return x, value if value.requires_grad else value + 0 * x  # a constant field has no graph


@dataclass(frozen=True)
class Exact:
    """Σ_i ∂f_i/∂x_i, one vector-Jacobian product per coordinate, `chunk` of them at once."""

    chunk: int = 16
    method: str = "exact divergence"
    columns: int = 1

    def __post_init__(self) -> None:
        if self.chunk < 1:
            raise UserError(f"a chunk holds at least one coordinate; got {self.chunk}")

    def of(self, x: Tensor) -> Trace:
        return self._trace

    def rows(self, index: Tensor) -> Exact:
        return self

    def at(self, *parts: int | str) -> Exact:
        return self

    def _trace(self, field: SpaceField, x: Tensor, rows: Tensor | None) -> tuple[Tensor, Tensor]:
        with torch.inference_mode(False), torch.enable_grad():
            x, value = _forward(field, x)
            d = x[0].numel() if len(x) else 0
            total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
            for first in range(0, d, self.chunk):
                index = torch.arange(first, min(first + self.chunk, d), device=x.device)
                units = torch.nn.functional.one_hot(index, d).to(value.dtype)
                directions = units[:, None, :].expand(-1, len(x), -1).reshape(len(index), *x.shape)
                rows_of_jacobian = _pull(value, x, directions, keep=first + self.chunk < d).flatten(2)
                total += rows_of_jacobian.gather(2, index[:, None, None].expand(-1, len(x), 1))[..., 0].double().sum(0)
        return value.detach(), total[:, None]


EXACT = Exact()


@dataclass(frozen=True)
class Hutchinson:
    """εᵀ (∂f/∂x) ε with probes that stay the same for the whole solve, so that what is integrated is smooth in time.

    `draws` holds one key per sample: the probes of a sample do not depend on its batch. `chunk` probes are pulled back
    at once.
    """

    draws: Draws
    probes: int = 1
    law: Law = rademacher
    chunk: int = 16

    def __post_init__(self) -> None:
        if self.probes < 1 or self.chunk < 1:
            raise UserError(f"at least one probe is needed, and one per chunk; got {self.probes} and {self.chunk}")

    @property
    def method(self) -> str:
        return f"Hutchinson, {self.probes} probe{'s' if self.probes > 1 else ''}"

    @property
    def columns(self) -> int:
        return self.probes

    def rows(self, index: Tensor) -> Hutchinson:
        return replace(self, draws=self.draws[index])

    def at(self, *parts: int | str) -> Hutchinson:
        return replace(self, draws=self.draws.at(*parts))

    def of(self, x: Tensor) -> Trace:
        if len(self.draws) != len(x):
            raise UserError(
                f"there are {len(x)} samples and {len(self.draws)} keys for their probes; one each is needed"
            )
        directions = torch.stack(
            [self.law(self.draws.at("probe", i), x.shape[1:], x.dtype) for i in range(self.probes)]
        ).to(x.device)

        def trace(field: SpaceField, x: Tensor, rows: Tensor | None) -> tuple[Tensor, Tensor]:
            chosen = directions if rows is None else directions[:, rows]
            with torch.inference_mode(False), torch.enable_grad():
                x, value = _forward(field, x)
                pulled = [
                    (_pull(value, x, part, keep=last < self.probes) * part).flatten(2).double().sum(2)
                    for part, last in _chunks(chosen.to(x.dtype), self.chunk)
                ]
            return value.detach(), torch.cat(pulled).T

        return trace


def _chunks(probes: Tensor, size: int) -> list[tuple[Tensor, int]]:
    """Parts along the first axis, each with the number of probes up to its end."""
    return [(probes[i : i + size], i + size) for i in range(0, len(probes), size)]


def divergence(field: SpaceField, x: Tensor, rule: Divergence = EXACT) -> tuple[Tensor, Tensor, Tensor]:
    """f(x), its divergence (B,) and the standard error over probes (B,): 0 if exact, nan for a single probe."""
    value, columns = rule.of(x)(field, x, None)
    return value, *mean_and_error(columns, exact=isinstance(rule, Exact))


def mean_and_error(columns: Tensor, exact: bool) -> tuple[Tensor, Tensor]:
    """The mean over probes (B, k) and its standard error: 0 if exact, nan for a single probe."""
    mean = columns.mean(1)
    if exact:
        return mean, torch.zeros_like(mean)
    if columns.shape[1] == 1:
        return mean, torch.full_like(mean, torch.nan)
    return mean, columns.std(1) / columns.shape[1] ** 0.5
