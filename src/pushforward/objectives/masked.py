"""Masked diffusion without its time: how many sites are hidden says all.

The bound does not depend on the schedule. Integrated over time for a given set of hidden sites it becomes a mean over
the number k of hidden sites, uniform on 1 … L, and over which (Uria et al. 2014, Hoogeboom et al. 2022):

    −log p(x) ≤ E_k E_{|M| = k} [ (L/k) Σ_{i ∈ M} −log p(x_i | x_{∖M}) ].

Estimates by k have no item without a hidden site, no weight above L, and no cut at a smallest time.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.denoisers.categorical import JumpDenoiser
from pushforward.errors import UserError
from pushforward.numerics.random import Draws
from pushforward.objectives.jump import hidden_nats
from pushforward.paths.generators import Absorbing

_GOLDEN = 0.6180339887498949


def hide(sites: int, count: Tensor, draws: Draws) -> Tensor:
    """Which of so many sites are hidden: `count` (B,) of them at random, bool (B, sites)."""
    place = draws.uniform((sites,), torch.float64).argsort(1).argsort(1)
    return place < count[:, None]


def masked_loss(denoiser: JumpDenoiser, x0: Tensor, draws: Draws) -> Tensor:
    """One draw of the bound for x0: int64 (B, …), the number of hidden sites evenly spread over items: (B,) nats."""
    sites = x0[0].numel()
    # items are numbered on through a training, so multiples of the golden ratio cover all numbers evenly
    u = torch.remainder(draws.index.double() * _GOLDEN, 1.0)
    count = (u * sites).floor().long() + 1
    return _bound_of(denoiser, x0, hide(sites, count, draws.at("hide")).reshape(x0.shape), sites)


def _bound_of(denoiser: JumpDenoiser, x0: Tensor, hidden: Tensor, sites: int) -> Tensor:
    path = denoiser.path
    mask = _mask_of(denoiser)
    count = hidden.flatten(1).sum(1)
    outside = denoiser.outside(torch.where(hidden, mask, x0), path.hiding(count, sites))
    return hidden_nats(outside, x0, hidden) * (sites / count.clamp(min=1)).to(outside.dtype)


@dataclass(frozen=True)
class Blocks:
    """Sites decoded block after block, left to right, masked diffusion within each: `size` sites a block.

    One block is masked diffusion, blocks of one site are an autoregressive model in the order of the sites.
    """

    size: int

    def __post_init__(self) -> None:
        if self.size < 1:
            raise UserError(f"a block has at least one site; got {self.size}")

    def bound(self, denoiser: JumpDenoiser, x0: Tensor, draws: Draws, repeats: int = 1, given: int = 0) -> Tensor:
        """An upper bound of −log p(x_0) for sequences (B, L), in expectation: nats (B,).

        All later blocks are hidden while one is decoded. `repeats` numbers of hidden sites for each block, evenly
        spread. The first `given` sites are a condition: they are seen and not counted.
        """
        total = torch.zeros(len(x0), dtype=torch.float64, device=x0.device)
        for start in range(given, x0.shape[1], self.size):
            stop = min(start + self.size, x0.shape[1])
            found = [self._block(denoiser, x0, start, stop, draws.at(start), i, repeats) for i in range(repeats)]
            total += torch.stack(found).double().mean(0)
        return total

    def _block(
        self, denoiser: JumpDenoiser, x0: Tensor, start: int, stop: int, draws: Draws, i: int, repeats: int
    ) -> Tensor:
        size = stop - start
        u = (draws.at("first").uniform((), torch.float64) + i) / repeats
        count = (u * size).floor().long().clamp(max=size - 1) + 1
        inside = hide(size, count, draws.at("hide", i))
        hidden = torch.zeros(x0.shape, dtype=torch.bool, device=x0.device)
        hidden[:, start:stop] = inside
        shown = torch.where(hidden, _mask_of(denoiser), x0)
        shown[:, stop:] = _mask_of(denoiser)
        level = denoiser.path.hiding(count + x0.shape[1] - stop, x0.shape[1])
        outside = denoiser.outside(shown, level)[:, start:stop]
        return hidden_nats(outside, x0[:, start:stop], inside) * (size / count).to(outside.dtype)


def masked_bound(denoiser: JumpDenoiser, x0: Tensor, draws: Draws, repeats: int = 8) -> Tensor:
    """The bound of items x0: int64 (B, …) with `repeats` evenly spread numbers of hidden sites: (repeats, B) nats."""
    sites, found = x0[0].numel(), []
    for i in range(repeats):
        u = (draws.at("first").uniform((), torch.float64) + i) / repeats
        count = (u * sites).floor().long().clamp(max=sites - 1) + 1
        hidden = hide(sites, count, draws.at("hide", i)).reshape(x0.shape)
        found.append(_bound_of(denoiser, x0, hidden, sites).double())
    return torch.stack(found)


def _mask_of(denoiser: JumpDenoiser) -> int:
    generator = denoiser.path.generator
    if not isinstance(generator, Absorbing):
        raise UserError("this is the bound of masked (absorbing) diffusion; use jump_bound for other rates")
    return generator.mask
