"""A model of latents and the first stage that they are of, as one model (Rombach et al. 2022)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from pushforward.data.dataset import Batch, Split
from pushforward.denoisers.terminal import Moments
from pushforward.errors import UserError
from pushforward.latent.stage import Code, Explains, FirstStage, Fitted
from pushforward.latent.standard import Standard
from pushforward.models.diffusion import Diffusion
from pushforward.models.family import Denoising, Density, Family, HasDensity, Items
from pushforward.models.indices import Indices
from pushforward.models.scoring import ByFlow
from pushforward.numerics.random import Draws

_PART = 256
"""Items that are encoded at once."""
_MEASURED = 2048
"""Held-out items on which it is measured what the first stage loses."""
_HELD = 1 << 28
"""Numbers of latents that are held in memory: a gibibyte. Beyond that items are encoded when they are asked for."""


@dataclass(frozen=True, eq=False)
class Encoded(Batch):
    """Items as the first stage has encoded them: `values` are the means of their latents (B, *latent_shape)."""

    deviation: Tensor | None = None

    def to(self, device: torch.device | str) -> Encoded:
        moved = super().to(device)
        assert isinstance(moved, Encoded)
        return moved if self.deviation is None else replace(moved, deviation=self.deviation.to(device))

    @property
    def code(self) -> Code:
        return Code(self.values, self.deviation)


@dataclass(frozen=True, eq=False)
class EncodedItems:
    """A split of which the latents are kept, so that the first stage is not run at every step."""

    mean: Tensor
    deviation: Tensor | None
    labels: Tensor | None
    conditions: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.mean)

    def batch(self, indices: Tensor) -> Encoded:
        """The latents of these items."""
        at = indices.cpu()
        labels, deviation = (None if held is None else held[at] for held in (self.labels, self.deviation))
        conditions = {name: values[at] for name, values in self.conditions.items()}
        return Encoded(self.mean[at], labels, conditions, deviation=deviation)

    def codes(self) -> Iterator[Code]:
        """All of them, in parts."""
        for at in torch.arange(len(self)).split(4096):
            yield self.batch(at).code


class Latent(Family):
    """Any family over the latents of a first stage, in standard units; drawn from, it gives items.

    The first stage is frozen. Latents are standardised by what `Standard` has measured on the whole training set.

    Numbers of codes (`Indices`) keep their own units.

    Args:
        first_stage: a `FirstStage` that is an `nn.Module`.
        inner: the model of latents, of items of the shape `first_stage.latent_shape`.
        random: whether it learns draws of q(z | x), as is usual, or the means.
    """

    lost: Tensor
    """The root mean square of what the first stage loses, at each coordinate of an item, on held-out items."""

    def __init__(self, first_stage: FirstStage, inner: Family, *, random: bool = True) -> None:
        if not isinstance(first_stage, nn.Module):
            raise UserError(
                f"a first stage is an nn.Module with code and decode; got a {type(first_stage).__name__}: wrap other "
                "objects with pushforward.latent.Foreign(object, shape)"
            )
        super().__init__(first_stage.shape, inner.num_classes)
        if tuple(inner.shape) != tuple(first_stage.latent_shape):
            raise UserError(
                f"the first stage gives latents of shape {tuple(first_stage.latent_shape)}, and the model of latents "
                f"is of items of shape {tuple(inner.shape)}: build one for the other"
            )
        self.stage, self.inner, self.random = first_stage, inner, random
        self.standard = Standard(first_stage.latent_shape)
        self.register_buffer("lost", torch.zeros(self.shape))
        first_stage.requires_grad_(False)

    @property
    def first_stage(self) -> FirstStage:
        """What encodes and decodes."""
        assert isinstance(self.stage, FirstStage)
        return self.stage

    @property
    def device(self) -> torch.device:
        return self.standard.shift.device

    def train(self, mode: bool = True) -> Latent:
        """The first stage stays as it is in use: it drops nothing out and moves no codes."""
        super().train(mode)
        self.stage.eval()
        return self

    # -- training --------------------------------------------------------------------------------------------------

    def prepare(self, train: Split, validation: Split, seed: int = 0) -> tuple[Items, Items]:
        """Fit a first stage that is in closed form, measure the scale, and keep the latents.

        They are not kept where they do not fit in memory, or where conditions are functions of the items
        (`Conditioned`).

        What was fitted and measured before is taken as it is: it is stored with the weights.
        """
        self.eval()
        if not bool(self.standard.measured):
            if isinstance(self.stage, Fitted):
                self.stage.fit(train.all().values)
            self.standard.measure(self._codes(train), keep_units=isinstance(self.stage, Indices))
            self._measure_lost(validation if len(validation) else train)
        latents = math.prod(self.first_stage.latent_shape)
        made = not isinstance(train, Split)
        if made or (len(train) + len(validation)) * latents > _HELD:
            return train, validation
        return self.encoded(train), self.encoded(validation)

    @torch.no_grad()
    def _measure_lost(self, split: Split) -> None:
        total = torch.zeros(self.shape, dtype=torch.float64)
        for at in torch.arange(min(len(split), _MEASURED)).split(_PART):
            x = split.batch(at).values.to(self.device)
            total += (self.reconstruct(x) - x).double().square().sum(0).cpu()
        self.lost.copy_((total / min(len(split), _MEASURED)).sqrt())

    @torch.no_grad()
    def encoded(self, split: Split) -> EncodedItems:
        """The latents of all items of a split."""
        means: list[Tensor] = [torch.zeros(0, *self.first_stage.latent_shape)]
        deviations: list[Tensor] = []
        for code in self._codes(split):
            means.append(code.mean.cpu())
            if code.deviation is not None:
                deviations.append(code.deviation.cpu())
        labels = None if split.labels is None else torch.from_numpy(split.labels)
        return EncodedItems(torch.cat(means), torch.cat(deviations) if deviations else None, labels, split.conditions)

    @torch.no_grad()
    def _codes(self, split: Split) -> Iterator[Code]:
        for at in torch.arange(len(split)).split(_PART):
            yield self._code(split.batch(at).values.to(self.device))

    def _code(self, x: Tensor) -> Code:
        code = self.first_stage.code(x)
        return code if self.random else Code(code.mean)

    def objectives(self) -> Mapping[str, Iterable[nn.Parameter]]:
        """Those of the model of latents."""
        return self.inner.objectives()

    def loss(self, objective: str, batch: Batch, draws: Draws) -> Tensor:
        """The loss of the model of latents, on a fresh draw of each item's latent: (B,)."""
        return self.inner.loss(objective, self._latent_batch(batch, draws), draws)

    def validation_loss(self, batch: Batch, draws: Draws) -> Tensor:
        """As the model of latents is validated."""
        inner, latent = self.inner, self._latent_batch(batch, draws)
        own = getattr(inner, "validation_loss", None)
        if callable(own):
            found = own(latent, draws)
            assert isinstance(found, Tensor)
            return found
        return inner.loss(next(iter(inner.objectives())), latent, draws)

    def figures(self) -> Mapping[str, Tensor]:
        """What the model of latents tells of its last loss."""
        own: Callable[[], Mapping[str, Tensor]] = getattr(self.inner, "figures", dict)
        return own()

    @property
    def progress(self) -> float:
        """The share of the training that is done, for a model of latents some of whose settings move."""
        return float(getattr(self.inner, "progress", 0.0))

    @progress.setter
    def progress(self, value: float) -> None:
        if hasattr(self.inner, "progress"):
            self.inner.progress = value  # type: ignore[assignment]

    @property
    def ranked_by_validation(self) -> bool:
        """Whether validation tells the best checkpoint."""
        return bool(getattr(self.inner, "ranked_by_validation", True))

    def after_step(self, total: Callable[[Tensor], Tensor]) -> None:
        """What follows the losses of the model of latents, such as its training times."""
        if isinstance(self.inner, Diffusion):
            self.inner.after_step(total)

    def _latent_batch(self, batch: Batch, draws: Draws) -> Batch:
        if isinstance(batch, Encoded):
            code = batch.code
        else:
            with torch.no_grad():
                code = self._code(batch.values)
        z = code.sample(draws.at("first stage"))
        return Batch(self.standard.standardised(z), batch.labels, batch.conditions)

    # -- use -------------------------------------------------------------------------------------------------------

    def draw(self, draws: Draws, labels: Tensor | None = None) -> Tensor:
        """One batch of samples in model units: (len(draws), *shape)."""
        return self.decode(self.inner.draw(draws, labels))

    def encode(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """The latents of items, in the units that the model learns: (B, *latent_shape)."""
        return self.standard.standardised(self.first_stage.code(x).mean)

    def decode(self, u: Tensor, labels: Tensor | None = None) -> Tensor:
        """The items of latents in those units: (B, *shape), differentiable."""
        return self.first_stage.decode(self.standard.restored(u))

    def reconstruct(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """What is left of x after it went through its latent: (B, *shape)."""
        return self.decode(self.encode(x))

    @property
    def moments(self) -> Moments:
        """Mean and variance of the latents, at each place."""
        return Moments.of(self.standard.mean.cpu(), self.standard.variance.cpu())


class LatentWithDensity(Latent):
    """A latent model whose first stage says how likely an item is given its latent, so that items have a density.

    log p(x) ≥ E_q [log p(x | z) + log p(z) − log q(z | x)], by one draw of z; with equality where the first stage is
    exact (principal components).
    """

    @property
    def discrete(self) -> bool:
        """Whether it gives probabilities of whole numbers."""
        return self._explains.discrete

    def density(self, x: Tensor, labels: Tensor | None, draws: Draws) -> Density:
        """log p of items in model units, or a bound of it."""
        explains = self._explains
        code = self.first_stage.code(x)
        z = code.sample(draws.at("first stage"))
        prior = self._log_prior(self.standard.standardised(z), labels, draws)
        nats = explains.log_conditional(x, z).double() + prior.nats.double() + self.standard.log_det()
        if code.deviation is not None:
            nats = nats + _entropy_term(z, code)
        of = "the data" if explains.exact else "a lower bound of the model's, through the first stage"
        error = prior.standard_error if explains.exact else torch.full_like(nats, math.nan)
        return Density(nats, error, f"latents by {prior.method}", of)

    def _log_prior(self, u: Tensor, labels: Tensor | None, draws: Draws) -> Density:
        inner = self.inner
        if isinstance(inner, Denoising):
            rule = ByFlow(inner.conditioned(labels), self.moments)
            return rule(u, torch.arange(len(u), device=u.device), draws, 1)
        if isinstance(inner, HasDensity):
            return inner.density(u, labels, draws)
        raise UserError(f"a model of latents of this kind ({type(inner).__name__}) has no likelihood")

    @property
    def _explains(self) -> Explains:
        stage: object = self.stage
        assert isinstance(stage, Explains)
        return stage


def latent_model(first_stage: FirstStage, inner: Family, *, random: bool = True) -> Latent:
    """The latent model of a first stage and a model of its latents, with a density where it has one."""
    scored = isinstance(first_stage, Explains) and isinstance(inner, Denoising | HasDensity)
    return (LatentWithDensity if scored else Latent)(first_stage, inner, random=random)


def _entropy_term(z: Tensor, code: Code) -> Tensor:
    """−log q(z | x): (B,)."""
    assert code.deviation is not None
    deviation = code.deviation.double()
    terms = (
        0.5 * ((z.double() - code.mean.double()) / deviation).square() + deviation.log() + 0.5 * math.log(2 * math.pi)
    )
    return terms.flatten(1).sum(1)


@dataclass(frozen=True, eq=False)
class LatentItems:
    """Items as the model of latents knows them: means of their latents in standard units."""

    model: Latent
    items: Items

    def __len__(self) -> int:
        return len(self.items)

    @torch.no_grad()
    def batch(self, indices: Tensor) -> Batch:
        """The items with these indices."""
        batch = self.items.batch(indices).to(self.model.device)
        return Batch(self.model.encode(batch.values), batch.labels, batch.conditions)
