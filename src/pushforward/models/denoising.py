"""A denoiser that speaks the user's form of data: sampled by every sampler, guided by its labels."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from pushforward.data.format import Format
from pushforward.denoisers.denoiser import Denoiser
from pushforward.denoisers.guidance import ALWAYS, GuidanceInterval, guided
from pushforward.denoisers.variance import VarianceTable, WithVariance
from pushforward.errors import UserError
from pushforward.models.card import Card
from pushforward.models.discrete import Discrete
from pushforward.models.family import Denoising, Family
from pushforward.models.generator import Generator
from pushforward.models.latent import Latent
from pushforward.models.mixed import Mixed, MixedGenerator
from pushforward.models.predictor import Predictor
from pushforward.models.symbols import SymbolGenerator
from pushforward.networks.conditions import NAMES
from pushforward.numerics.random import Draws
from pushforward.samplers.default import USUAL_EVALUATIONS, Sampling, default_sampler
from pushforward.samplers.step import Observer
from pushforward.samplers.tuned import Tuned


@dataclass(frozen=True, eq=False)
class DiffusionGenerator(Generator):
    """A model that is a Denoiser, in the user's form.

    `conditions` are what it is told beside the class (`given`), one entry for all or entries that samples take in
    turn; `held` names those that guidance keeps in both of its estimates, as an image to be enlarged usually is.
    `variance` is Var[x_0 | x_t] as estimated on its data, for the samplers that use it (Analytic-DPM) where the model
    has not learned it; `tuned` are the samplers fitted to it, by evaluations, which are of its bare estimates.
    `interval` says where guidance acts, `around` is put around the guided denoiser, such as clipping.
    """

    model: Denoising
    variance: VarianceTable | None = None
    tuned: Mapping[int, Tuned] = field(default_factory=dict)
    interval: GuidanceInterval = ALWAYS
    around: Callable[[Denoiser], Denoiser] | None = None
    conditions: Mapping[str, Tensor] = field(default_factory=dict)
    held: tuple[str, ...] = ()

    def given(self, held: Sequence[str] = (), **conditions: Tensor) -> DiffusionGenerator:
        """The generator with conditions bound, each (1 or N, …): sample i of a seed takes entry i modulo N.

        Raises UserError for a condition that the model was not trained with.
        """
        self.model.denoiser().given(**conditions)
        return replace(self, conditions={**self.conditions, **conditions}, held=(*self.held, *held))

    def check_way(self, steps: int | None, guidance: float, sampler: Sampling | None) -> None:
        if not isinstance(guidance, numbers.Real) or not math.isfinite(guidance):
            raise UserError(f"the weight of guidance must be a finite number, 1 for none; got {guidance!r}")
        if sampler is not None and not callable(getattr(sampler, "sample", None)):
            raise UserError(f"a sampler is an object such as Sampler(DDIM, Uniform()); got {sampler!r}")

    @torch.inference_mode()
    def draw(
        self,
        draws: Draws,
        labels: Tensor | None,
        steps: int | None = None,
        guidance: float = 1.0,
        sampler: Sampling | None = None,
        observe: Observer | None = None,
    ) -> Tensor:
        self.model.eval()
        evaluations = USUAL_EVALUATIONS if steps is None else steps
        sampler = sampler or self.usual_sampler(evaluations, guidance)
        start = self.model.path.prior(draws.at("prior").normal(self.model.shape))
        denoiser = self.conditioned(labels, guidance, self.told(draws.index), items=len(draws))
        if self.variance is not None and not self.model.tells_variance:
            denoiser = WithVariance(denoiser, self.variance)
        if self.around is not None:
            denoiser = self.around(denoiser)
        return sampler.sample(denoiser, start, evaluations, draws, observe=observe)

    def usual_sampler(self, steps: int, guidance: float = 1.0) -> Sampling:
        """The one tuned to this model at so many evaluations, where there is one and no guidance; else the default."""
        if self.uses_tuned(steps, guidance):
            return self.tuned[steps].whole()
        return default_sampler(self.model.path, steps, self.model.prediction.sigma_data)

    def uses_tuned(self, steps: int, guidance: float = 1.0) -> bool:
        """Whether the usual sampler of so many evaluations is one that was tuned to this model."""
        return steps in self.tuned and guidance == 1.0 and self.around is None

    @property
    def tells(self) -> tuple[str, ...]:
        """The conditions beside the class that the model can be told, whole ones: none that only goes with another."""
        return tuple(name for name in getattr(self.model, "conditions", ()) if name in NAMES)

    def told(self, rows: Tensor) -> dict[str, Tensor]:
        """The bound conditions of samples with these numbers (B,), on their device: (B, …) each."""
        return {name: value.to(rows.device)[rows % len(value)] for name, value in self.conditions.items()}

    def bound(self, told: Mapping[str, Tensor] | None, items: int | None) -> Mapping[str, Tensor]:
        """What is told, by default the conditions that are bound here, in turn for so many items.

        Raises UserError where something is bound and it is not known for how many.
        """
        if told is not None or not self.conditions:
            return told or {}
        if items is None:
            raise UserError(
                f"this model is told {', '.join(self.conditions)}, which has no use here: leave `given` out"
            )
        return self.told(torch.arange(items, device=self.model.device))

    def conditioned(
        self,
        labels: Tensor | None,
        guidance: float = 1.0,
        told: Mapping[str, Tensor] | None = None,
        *,
        items: int | None = None,
    ) -> Denoiser:
        """The Denoiser for labels (B,) and conditions (B, …), guided with weight w away from all that are not `held`.

        `told` are by default the conditions that are bound here, in turn for `items` of them. Raises UserError where
        guidance has no condition, and where something is bound and it is not known for how many.
        """
        device, told = self.model.device, self.bound(told, items)
        bound = self.model.conditioned(None if labels is None else labels.to(device))
        if told:
            bound = bound.given(**told)
        if guidance == 1.0:
            return bound
        if labels is None and not told:
            raise UserError("guidance needs a label to be guided to; this model has none or none was given")
        free = self.model.conditioned(
            None if labels is None else torch.full_like(labels, self.model.num_classes).to(device)
        )
        if told:
            keep = [name not in told or name in self.held for name in NAMES]
            dropped = ~torch.tensor(keep, device=device).expand(len(next(iter(told.values()))), -1)
            # the same names on both sides, so that the network is called once for the two
            bound, free = bound.given(dropped=torch.zeros_like(dropped)), free.given(**told, dropped=dropped)
        return guided(bound, free, guidance, self.interval)


@dataclass(frozen=True, eq=False)
class LatentGenerator(Generator):
    """A latent model in the user's form: drawn as its model of latents is (`inner`), and decoded."""

    model: Latent
    inner: Generator

    def given(self, held: Sequence[str] = (), **conditions: Tensor) -> LatentGenerator:
        """The generator with conditions bound; see `DiffusionGenerator.given`. Images are of the size of latents."""
        if not isinstance(self.inner, DiffusionGenerator):
            raise UserError("conditions beside the class are of denoisers; this model of latents is none")
        return replace(self, inner=self.inner.given(held, **conditions))

    def check_way(self, steps: int | None, guidance: float, sampler: Sampling | None) -> None:
        self.inner.check_way(steps, guidance, sampler)

    @torch.no_grad()
    def draw(
        self,
        draws: Draws,
        labels: Tensor | None,
        steps: int | None = None,
        guidance: float = 1.0,
        sampler: Sampling | None = None,
    ) -> Tensor:
        self.model.eval()
        return self.model.decode(self.inner.draw(draws, labels, steps, guidance, sampler))


def generator_of(
    model: Family, form: Format, variance: VarianceTable | None = None, tuned: Mapping[int, Tuned] | None = None
) -> Generator:
    """The generator of a model of any family; what was fitted to a denoiser goes with it."""
    if isinstance(model, Denoising):
        return DiffusionGenerator(model, form, variance, tuned or {})
    if isinstance(model, Latent):
        return LatentGenerator(model, form, generator_of(model.inner, form, variance, tuned))
    if isinstance(model, Discrete):
        return SymbolGenerator(model, form)
    if isinstance(model, Mixed):
        return MixedGenerator(model, form)
    if isinstance(model, Card):
        return Predictor(model, form)
    return Generator(model, form)


def sampled_denoiser(generator: Generator) -> DiffusionGenerator | None:
    """The denoiser that samplers move: the model's own, or that of its latents; None where there is none."""
    inner = generator.inner if isinstance(generator, LatentGenerator) else generator
    return inner if isinstance(inner, DiffusionGenerator) else None


def as_sampled(generator: Generator, what: str) -> DiffusionGenerator:
    """`sampled_denoiser`. Raises UserError, naming `what` was asked for, where there is none."""
    found = sampled_denoiser(generator)
    return as_denoising(generator, what) if found is None else found


def as_denoising(generator: Generator, what: str) -> DiffusionGenerator:
    """The generator as one of a denoiser of items. Raises UserError, naming `what` was asked for, where it is none."""
    if isinstance(generator, DiffusionGenerator):
        return generator
    if isinstance(generator, LatentGenerator) and isinstance(generator.inner, DiffusionGenerator):
        raise UserError(
            f"{what} works on denoisers of the items themselves; this model denoises their latents: train one of the "
            "family diffusion for it"
        )
    kind = type(generator.model).__name__
    if isinstance(generator, LatentGenerator):
        kind = f"{kind} model, a {type(generator.inner.model).__name__} of latents"
    raise UserError(f"{what} works on denoisers, which diffusion models are; this is a {kind}")
