"""Items that a model draws, and measurements of them: what calibration and the choice of a method are made on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.errors import UserError
from pushforward.inverse.likelihoods.likelihood import Likelihood, Measurement
from pushforward.inverse.likelihoods.others import Categorical, Product
from pushforward.inverse.method import guidance_sampler
from pushforward.inverse.operators.operator import Shape
from pushforward.numerics.random import Draws


@torch.no_grad()
def prior_draws(
    denoiser: Denoiser,
    shape: Shape,
    draws: Draws,
    evaluations: int = 100,
    dtype: torch.dtype = torch.float32,
    at_once: int = 256,
) -> Tensor:
    """One item per key, by the reverse SDE that the exact samplers' moves are made of: (B, *shape)."""
    parts = []
    sampler = guidance_sampler(denoiser, evaluations)
    for rows in torch.arange(len(draws), device=draws.base.device).split(at_once):
        own = draws[rows]
        start = denoiser.path.prior(own.at("prior").normal(shape, dtype))
        parts.append(sampler.sample(denoiser.rows(rows), start, evaluations, own.at("items")))
    return torch.cat(parts)


def measured(template: Likelihood, x: Tensor, draws: Draws) -> Likelihood:
    """The likelihood of simulated measurements of x (B, …), one each, under the law of `template`.

    Raises UserError for a likelihood that says nothing of its measurements, an energy.
    """
    return _with(template, template.simulate(x, draws))


def _with(template: Likelihood, y: Any) -> Likelihood:
    if isinstance(template, Measurement):
        return replace(template, y=y)
    if isinstance(template, Categorical):
        return replace(template, label=y)
    if isinstance(template, Product):
        return Product(tuple(_with(part, own) for part, own in zip(template.parts, y, strict=True)))
    raise UserError(f"{type(template).__name__} has no measurement to simulate: use a likelihood such as Gaussian")
