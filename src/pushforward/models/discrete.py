"""Discrete diffusion assembled: a network, a jump process, the bound that trains it, and what it can do afterwards."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pushforward.data.dataset import Batch
from pushforward.denoisers.categorical import GuidedJumps, JumpDenoiser, NetworkJumpDenoiser, Tempered
from pushforward.errors import UserError
from pushforward.models.family import Density, Family
from pushforward.numerics.random import Draws
from pushforward.objectives.jump import jump_bound, jump_loss
from pushforward.objectives.masked import Blocks, masked_bound, masked_loss
from pushforward.paths.generators import Absorbing
from pushforward.paths.grids import UniformToZero
from pushforward.paths.jump import JumpPath
from pushforward.samplers.combinators import Project
from pushforward.samplers.jump import JumpAncestral, fixed, simulate_jumps
from pushforward.samplers.jump_exact import show_one_by_one

BOUND_REPEATS = 16
"""Times, or numbers of hidden sites, of an item's likelihood bound."""
USUAL_STEPS = 128
"""Of sampling. Masked symbols cost fewer evaluations where there are fewer sites: what has not changed is kept."""


@dataclass(frozen=True)
class Symbols:
    """How model units are symbols 0 … S − 1: symbol = x · scale + shift, numbers or one per site."""

    scale: tuple[float, ...] = (1.0,)
    shift: tuple[float, ...] = (0.0,)

    def of(self, x: Tensor) -> Tensor:
        """(B, *shape) in model units -> int64."""
        if not x.is_floating_point():
            return x
        return torch.round(x.double() * self._wide(self.scale, x) + self._wide(self.shift, x)).long()

    def back(self, symbols: Tensor, dtype: torch.dtype) -> Tensor:
        """Symbols in model units."""
        if not dtype.is_floating_point:
            return symbols
        return ((symbols - self._wide(self.shift, symbols)) / self._wide(self.scale, symbols)).to(dtype)

    @staticmethod
    def _wide(values: tuple[float, ...], like: Tensor) -> Tensor:
        wide = torch.tensor(values, dtype=torch.float64, device=like.device)
        return wide if len(values) > 1 else wide.reshape(())


@dataclass(frozen=True)
class JumpSampling:
    """How symbols are drawn: `steps` of a rule on the even grid, or with `step` None site by site, exactly.

    `temperature` below 1 prefers the likelier symbols.
    """

    steps: int | None = None
    step: Any = JumpAncestral()  # noqa: RUF009 - frozen, without state
    temperature: float = 1.0


USUAL = JumpSampling()


class Discrete(Family):
    """A network of symbols trained on the evidence bound of its jump process.

    Args:
        network: `net(x, time, label=None)`: states int64 (B, *shape), time (B,), label (B,) with `num_classes` for "no
            label", to logits (B, *shape, symbols).
        path: the jump process.
        shape: of one item.
        units: how items in model units are symbols; None for items that are symbols already.
        sizes: how many symbols each site has (D,), where not all have as many.
        timeless: the network is not told the time, of which masked symbols need nothing.
        direct: it answers log p(x_0 | x_t), not the law given the other sites alone.
        by_count: masked symbols are hidden by their number, not by a time: the same bound, with less noise.
        auxiliary: weight of the cross-entropy beside the bound.
        label_dropout: share of labels left out in training, which guidance needs.
    """

    beyond: Tensor | None

    def __init__(
        self,
        network: nn.Module,
        path: JumpPath,
        shape: Sequence[int],
        *,
        units: Symbols | None = None,
        sizes: Tensor | None = None,
        timeless: bool = True,
        direct: bool = False,
        by_count: bool = True,
        auxiliary: float = 0.0,
        num_classes: int = 0,
        label_dropout: float = 0.1,
    ) -> None:
        super().__init__(shape, num_classes)
        masked = isinstance(path.generator, Absorbing)
        if auxiliary and by_count and masked:
            raise UserError(
                "symbols hidden by their number are trained on a cross-entropy alone, so there is no other to weigh: "
                "leave out auxiliary, or give by_count=False"
            )
        if timeless and not masked:
            raise UserError(
                "the estimate of symbols that are not masked depends on the time: give the network its time"
            )
        self.network, self.path, self.units = network, path, units
        self.timeless, self.direct, self.by_count = timeless, direct, by_count and masked
        self.auxiliary, self.label_dropout = auxiliary, label_dropout
        symbols = path.generator.symbols
        beyond = None if sizes is None else torch.arange(symbols) >= sizes.reshape(*self.shape, 1)
        self.register_buffer("beyond", beyond, persistent=False)

    @property
    def masked(self) -> bool:
        """Whether its process hides symbols, so that what is seen is certain."""
        return isinstance(self.path.generator, Absorbing)

    @property
    def sites(self) -> int:
        return math.prod(self.shape)

    def objectives(self) -> Mapping[str, Iterator[nn.Parameter]]:
        return {"loss": self.parameters()}

    def denoiser(self, labels: Tensor | None = None, barred: Tensor | None = None) -> JumpDenoiser:
        """The network as a denoiser of symbols, with labels (B,) bound; `barred` (*shape, symbols) are none of them."""
        out = [mask for mask in (self.beyond, barred) if mask is not None]
        network = _Within(self.network, torch.stack(out).any(0)) if out else self.network
        return NetworkJumpDenoiser(self.path, network, self.timeless, self.direct, labels)

    def loss(self, objective: str, batch: Batch, draws: Draws) -> Tensor:
        """One draw of the bound, in nats per site: (B,)."""
        x0, labels = self.symbols(batch.values), self.labels_of(batch)
        if labels is not None:
            keep = draws.at("label").uniform() >= self.label_dropout
            labels = torch.where(keep, labels, self.num_classes)
        denoiser = self.denoiser(labels)
        if self.by_count:
            return masked_loss(denoiser, x0, draws) / self.sites
        return jump_loss(denoiser, x0, draws, weight=self.auxiliary) / self.sites

    def symbols(self, values: Tensor) -> Tensor:
        """Items in model units as symbols: int64 (B, *shape). Raises UserError for some that are none."""
        found = values.long() if self.units is None else self.units.of(values)
        if found.device.type == "cpu" and found.numel():
            low, high = int(found.min()), int(found.max())
            if low < 0 or high >= self.path.generator.symbols:
                raise UserError(
                    f"the model knows the symbols 0 … {self.path.generator.symbols - 1}; the data has "
                    f"{low if low < 0 else high}"
                )
            if self.beyond is not None and bool(
                self.beyond.expand(*found.shape, -1).gather(-1, found[..., None]).any()
            ):
                raise UserError("the data has values in a column that this column did not have in the training data")
        return found

    @torch.no_grad()
    def draw(self, draws: Draws, labels: Tensor | None = None) -> Tensor:
        return self.sample(draws, labels)

    def sample(
        self,
        draws: Draws,
        labels: Tensor | None = None,
        way: JumpSampling = USUAL,
        guidance: float = 1.0,
        known: Tensor | None = None,
        where: Tensor | None = None,
        barred: Tensor | None = None,
    ) -> Tensor:
        """Items in model units (B, *shape); the sites `where` (bool) are kept at the symbols `known` (int64).

        `barred` (*shape, symbols) is true for symbols that a site must not take.
        """
        dtype = torch.int64 if self.units is None else torch.float32
        found = self._fill(self._guided(labels, guidance, way.temperature, barred), draws, way, known, where)
        return found if self.units is None else self.units.back(found, dtype)

    def _guided(
        self, labels: Tensor | None, guidance: float, temperature: float, barred: Tensor | None
    ) -> JumpDenoiser:
        found = self.denoiser(labels, barred)
        if guidance != 1.0:
            if labels is None:
                raise UserError("guidance needs a label to be guided to; this model has none or none was given")
            anyone = self.denoiser(torch.full_like(labels, self.num_classes), barred)
            found = GuidedJumps(found, anyone, guidance)
        return found if temperature == 1.0 else Tempered(found, temperature)

    def _fill(
        self, denoiser: JumpDenoiser, draws: Draws, way: JumpSampling, known: Tensor | None, where: Tensor | None
    ) -> Tensor:
        path, step = self.path, way.step
        x = path.prior(draws.at("prior"), self.shape)
        if known is not None and where is not None:
            kept = fixed(path, known, where)
            x = kept(x, path.level(path.t_max), draws.at("known"))
            step = None if step is None else Project(step, kept)
        if step is None:
            return show_one_by_one(denoiser, x, draws)
        steps = USUAL_STEPS if way.steps is None else way.steps
        return simulate_jumps(denoiser, step, x, UniformToZero()(path, steps), draws)  # type: ignore[arg-type]

    @property
    def discrete(self) -> bool:
        return True

    def density(self, x: Tensor, labels: Tensor | None, draws: Draws) -> Density:
        """A lower bound of log P(x), with the error of its random times."""
        return self.bound(self.symbols(x), labels, draws)

    @torch.no_grad()
    def bound(
        self,
        x0: Tensor,
        labels: Tensor | None,
        draws: Draws,
        repeats: int = BOUND_REPEATS,
        blocks: Blocks | None = None,
        given: int = 0,
    ) -> Density:
        """log P of symbols x0 (B, *shape) from below; with `blocks` decoded block after block, given the first sites.

        Raises UserError for blocks where symbols are not masked or no sequence, and where nothing is left to score.
        """
        denoiser = self.denoiser(labels)
        if blocks is not None or given:
            if not self.masked or len(self.shape) != 1:
                raise UserError("blocks are decoded one after the other in masked sequences alone")
            if not 0 <= given < x0.shape[1]:
                raise UserError(f"of {x0.shape[1]} symbols 0 to {x0.shape[1] - 1} can be given; got {given}")
            blocks = blocks or Blocks(x0.shape[1] - given)
            each = torch.stack([blocks.bound(denoiser, x0, draws.at(i), 1, given) for i in range(repeats)])
            return _density(each, f"bound of blocks of {blocks.size}, {repeats} draws")
        if self.masked:
            return _density(masked_bound(denoiser, x0, draws, repeats), f"evidence bound, {repeats} draws")
        terms = jump_bound(denoiser, x0, draws, repeats)
        return Density(-terms.total.double(), torch.full((len(x0),), math.nan, dtype=torch.float64), *_named(repeats))


def _named(repeats: int) -> tuple[str, str]:
    return f"continuous-time evidence bound, {repeats} times", "the model's samples"


def _density(nats: Tensor, method: str) -> Density:
    """Of draws (R, B) of −log P: their mean, and its error as if they were not spread evenly."""
    error = nats.std(0) / len(nats) ** 0.5 if len(nats) > 1 else torch.full_like(nats[0], math.nan)
    return Density(-nats.mean(0), error, method, "the model's samples")


class _Within(nn.Module):
    """A network whose answers keep to the symbols that each site has."""

    def __init__(self, network: nn.Module, beyond: Tensor) -> None:
        super().__init__()
        self.network, self.beyond = network, beyond

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        return self.network(x, time, label).masked_fill(self.beyond, -torch.inf)
