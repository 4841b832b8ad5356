"""Where a run restores: in the space of items, or in that of the latents of its first stage."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from pushforward.config.methods import USUAL_METHOD, NamedMethod
from pushforward.config.run import Run
from pushforward.data.format import Format
from pushforward.errors import UserError
from pushforward.inverse import Gaussian, Guidance, Likelihood, Measurement, Method, PlugIn
from pushforward.inverse.operators.decoder import Decoder
from pushforward.inverse.operators.units import Affine
from pushforward.models.denoising import DiffusionGenerator, LatentGenerator
from pushforward.models.latent import Latent
from pushforward.numerics.random import Draws
from pushforward.posterior import CrowdMethod

_DRAWS = 16
"""Of what the first stage loses, to find how much of it an operator sees."""


class Space(Protocol):
    """What a question of restoring is asked in, and how its answer becomes items."""

    @property
    def generator(self) -> DiffusionGenerator:
        """The prior."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one of its items."""
        ...

    @property
    def lost(self) -> float | None:
        """What no answer can know of an item: root mean square, in the user's units; None where nothing is lost."""
        ...

    def likelihood(self, likelihood: Measurement) -> Likelihood:
        """The likelihood of items in the user's units, as one of the prior's."""
        ...

    def method(self, name: str, entry: NamedMethod, likelihood: Likelihood) -> Method | CrowdMethod:
        """The method of a name for the user's likelihood."""
        ...

    def items(self, samples: Tensor) -> Tensor:
        """Draws (S, N, *shape) as items in model units."""
        ...

    def drawn(self, x: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """The prior's own draws (N, *shape) as items to compare answers with, and as items that are measured."""
        ...


@dataclass(frozen=True, eq=False)
class ItemSpace:
    """The prior is one of items."""

    generator: DiffusionGenerator
    form: Format
    lost: float | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.form.shape

    def likelihood(self, likelihood: Measurement) -> Likelihood:
        return likelihood.in_units(self.form)

    def method(self, name: str, entry: NamedMethod, likelihood: Likelihood) -> Method | CrowdMethod:
        return entry.build(likelihood)

    def items(self, samples: Tensor) -> Tensor:
        return samples

    def drawn(self, x: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        return x, x


@dataclass(frozen=True, eq=False)
class LatentSpace:
    """The prior is one of latents: what is measured of an item is measured of its latent through the decoder.

    What the first stage loses no latent can explain, so it counts as noise: σ² + τ², τ the deviation of A e for losses
    e as they were measured on held-out items. Without it guidance would chase what the decoder cannot show.
    """

    model: Latent
    generator: DiffusionGenerator
    form: Format

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.model.inner.shape)

    @property
    def lost(self) -> float:
        scale = torch.as_tensor(self.form.scale, dtype=torch.float64)
        if scale.ndim:
            scale = scale.reshape(self.form.shape)
        return float((self.model.lost.double().cpu() * scale).square().mean().sqrt())

    def likelihood(self, likelihood: Measurement) -> Likelihood:
        units = likelihood.in_units(self.form)
        if not isinstance(units, Measurement):
            raise UserError("restoring through a decoder needs one measurement of the item")
        model = self.model
        decoder = Decoder(model.decode, model.encode, self.shape, model.standard.shift)
        through = replace(units, operator=units.operator @ decoder)
        if isinstance(units, Gaussian) and isinstance(through, Gaussian):
            tau = self._unexplained(units)
            return replace(through, sigma=(torch.as_tensor(units.sigma).double() ** 2 + tau**2).sqrt())
        return through

    def method(self, name: str, entry: NamedMethod, likelihood: Likelihood) -> Method | CrowdMethod:
        if name == USUAL_METHOD and isinstance(likelihood, Gaussian):
            # what a latent is unsure of, in units of its prior, a measurement is unsure of in those of the prior's
            return Guidance(PlugIn(widening=self._measured_variance(likelihood)))
        return entry.build(likelihood)

    def items(self, samples: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.stack([self.model.decode(draw) for draw in samples])

    @torch.no_grad()
    def drawn(self, x: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """With what the first stage loses, which is measured with the item, and is noise to its latent."""
        shown = self.model.decode(x)
        return shown, shown + self.model.lost.to(shown) * draws.normal_like(shown)

    @torch.no_grad()
    def _measured_variance(self, likelihood: Gaussian) -> float:
        """The variance of what is measured over latents of the prior's moments, per number."""
        draws = Draws.of(0, range(_DRAWS), "decoded", self.model.device)
        x = self.model.decode(draws.normal(self.shape)).double().cpu()
        units = likelihood.in_units(self.form)
        assert isinstance(units, Gaussian)
        seen = _seen(units, x)
        return float((seen - seen.mean(0)).abs().square().sum() / (len(seen) - 1) / _count(units))

    def _unexplained(self, likelihood: Gaussian) -> float:
        """τ, per number that is measured; `likelihood` in model units."""
        lost = self.model.lost.double().cpu()
        x = Affine.of(self.form).pseudo_inverse(torch.zeros(1, *self.form.shape, dtype=torch.float64))
        x = x.expand(_DRAWS, *self.form.shape)
        e = lost * Draws.of(0, range(_DRAWS), "lost").normal(self.form.shape, torch.float64)
        off = _seen(likelihood, x + e) - _seen(likelihood, x)
        return float((off.abs().square().sum() / len(off) / _count(likelihood)).sqrt())


def _seen(likelihood: Gaussian, x: Tensor) -> Tensor:
    """What is measured of items in model units; of operators that differ from item to item the first one's."""
    operator = likelihood.operator.to("cpu")
    if operator.items is not None:
        operator = operator.select(torch.zeros(len(x), dtype=torch.int64))
    return operator.measured(operator(x))


def _count(likelihood: Gaussian) -> float:
    return float(likelihood.count().double().mean())


def space_of(run: Run, what: str = "restoring") -> Space:
    """Where a run restores. Raises UserError, naming `what` was asked for, for a family that is no denoiser."""
    if isinstance(run.generator, LatentGenerator):
        return LatentSpace(run.generator.model.eval(), run.sampled(what), run.format)
    return ItemSpace(run.denoising(what), run.format)
