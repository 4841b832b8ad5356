"""A denoiser that speaks the user's form of data: sampled by every sampler, guided by its labels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pushforward.data.format import Format
from pushforward.denoisers.denoiser import Denoiser
from pushforward.denoisers.guidance import guided
from pushforward.denoisers.variance import VarianceTable, WithVariance
from pushforward.errors import UserError
from pushforward.models.card import Card
from pushforward.models.discrete import Discrete
from pushforward.models.family import Denoising, Family
from pushforward.models.generator import Generator
from pushforward.models.mixed import Mixed, MixedGenerator
from pushforward.models.predictor import Predictor
from pushforward.models.symbols import SymbolGenerator
from pushforward.numerics.random import Draws
from pushforward.samplers.default import USUAL_EVALUATIONS, Sampling, default_sampler
from pushforward.samplers.step import Observer
from pushforward.samplers.tuned import Tuned


@dataclass(frozen=True, eq=False)
class DiffusionGenerator(Generator):
    """A model that is a Denoiser, in the user's form.

    `variance` is Var[x_0 | x_t] as estimated on its data, for the samplers that use it (Analytic-DPM); `tuned` are the
    samplers fitted to it, by evaluations.
    """

    model: Denoising
    variance: VarianceTable | None = None
    tuned: Mapping[int, Tuned] = field(default_factory=dict)

    def check_way(self, steps: int | None, guidance: float, sampler: Sampling | None) -> None:
        if not math.isfinite(guidance):
            raise UserError(f"the weight of guidance must be a finite number, 1 for none; got {guidance}")
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
        denoiser = self.conditioned(labels, guidance)
        if self.variance is not None:
            denoiser = WithVariance(denoiser, self.variance)
        return sampler.sample(denoiser, start, evaluations, draws, observe=observe)

    def usual_sampler(self, steps: int, guidance: float = 1.0) -> Sampling:
        """The one tuned to this model at so many evaluations, where there is one and no guidance; else the default."""
        if steps in self.tuned and guidance == 1.0:
            return self.tuned[steps].whole()
        return default_sampler(self.model.path, steps, self.model.prediction.sigma_data)

    def conditioned(self, labels: Tensor | None, guidance: float = 1.0) -> Denoiser:
        """The Denoiser for labels (B,), guided with weight w. Raises UserError where guidance has no condition."""
        device = self.model.device
        bound = self.model.conditioned(None if labels is None else labels.to(device))
        if guidance == 1.0:
            return bound
        if labels is None:
            raise UserError("guidance needs a label to be guided to; this model has none or none was given")
        nothing = torch.full_like(labels, self.model.num_classes).to(device)
        return guided(bound, self.model.conditioned(nothing), guidance)


def generator_of(
    model: Family, form: Format, variance: VarianceTable | None = None, tuned: Mapping[int, Tuned] | None = None
) -> Generator:
    """The generator of a model of any family; what was fitted to a denoiser goes with it."""
    if isinstance(model, Denoising):
        return DiffusionGenerator(model, form, variance, tuned or {})
    if isinstance(model, Discrete):
        return SymbolGenerator(model, form)
    if isinstance(model, Mixed):
        return MixedGenerator(model, form)
    if isinstance(model, Card):
        return Predictor(model, form)
    return Generator(model, form)


def as_denoising(generator: Generator, what: str) -> DiffusionGenerator:
    """The generator as one of a denoiser. Raises UserError, naming `what` was asked for, where it is none."""
    if isinstance(generator, DiffusionGenerator):
        return generator
    kind = type(generator.model).__name__
    raise UserError(f"{what} works on denoisers, which diffusion models are; this is a {kind}")
