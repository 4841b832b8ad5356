"""Variational autoencoders from their section."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from pushforward.config.family_schema.vae import VAEConfig
from pushforward.data.dataset import Dataset, Split
from pushforward.data.format import Format, Kind
from pushforward.data.numbers import is_integer
from pushforward.data.pixels import Pixels
from pushforward.errors import UserError
from pushforward.models.vae import VAE, vae
from pushforward.models.vq import VQAutoencoder, usual_levels, usual_places, vq
from pushforward.vae import (
    Bernoulli,
    Bound,
    Categorical,
    Diagonal,
    DiscretisedLikelihood,
    EachScale,
    Elbo,
    FullCovariance,
    GaussianLikelihood,
    Importance,
    Likelihood,
    Posterior,
    Prior,
    VampPrior,
    flow_prior,
    iaf_posterior,
    mixture_prior,
)

_MOST_LEVELS = 1 << 16
_LEAVE, _FIT = "leave it out", "leave it out, or set model.posterior=codes"


def resolve(config: VAEConfig, data: Dataset) -> VAEConfig:
    """With latent size and likelihood chosen: probabilities for images of whole numbers, densities for all else."""
    form, chosen = data.format, config.likelihood
    _check_used(config)
    steps = levels(form)
    if chosen == "auto":
        chosen = "gaussian" if steps is None else "bernoulli" if steps == 2 else "discretised-logistic"
    if chosen in ("discretised-logistic", "bernoulli", "categorical") and steps is None:
        raise UserError(
            f"model.likelihood={chosen} gives probabilities to the whole numbers of images, and these data are not "
            "such: leave it out, or set model.likelihood=gaussian"
        )
    if chosen == "bernoulli" and steps != 2:
        raise UserError(f"model.likelihood=bernoulli is for images of two values, and these have {steps}: leave it out")
    changes = {"likelihood": chosen, "width": config.width or (32 if form.kind is Kind.IMAGE else 200)}
    if config.posterior == "codes":
        return config.model_copy(update={**changes, **_of_codes(config, form)})
    if config.prior == "codes":
        raise UserError(f"model.prior=codes is a law of codes, and model.posterior={config.posterior} has none: {_FIT}")
    latent = config.latent or min(32, max(2, round(math.sqrt(math.prod(form.shape)))))
    return config.model_copy(update={**changes, "latent": latent})


def _check_used(config: VAEConfig) -> None:
    """Refuse what would be read by nobody."""
    usual = VAEConfig()
    for name in ("beta", "free_bits", "warmup"):
        if config.samples > 1 and getattr(config, name) != getattr(usual, name):
            raise UserError(
                f"model.{name} is of the evidence bound, and model.samples={config.samples} asks for the "
                f"importance-weighted one: {_LEAVE}, or set model.samples=1"
            )
    if config.posterior == "codes":
        return
    if config.codebook != usual.codebook:
        raise UserError(f"model.codebook is of codes, and model.posterior={config.posterior} has none: {_FIT}")
    if config.prior not in ("mixture", "vamp") and config.components != usual.components:
        raise UserError(f"model.components has no meaning for model.prior={config.prior}: {_LEAVE}")


def _of_codes(config: VAEConfig, form: Format) -> dict[str, Any]:
    """What is resolved where latents are codes. Raises UserError for settings that have no meaning then."""
    images = form.kind is Kind.IMAGE
    usual = VAEConfig()
    meaningless = ["components", "beta", "free_bits", "warmup", "samples", *(["latent", "hidden"] if images else [])]
    for name in meaningless:
        if getattr(config, name) != getattr(usual, name):
            raise UserError(
                f"model.{name} has no meaning where the latents are codes (model.posterior=codes): {_LEAVE}"
            )
    if config.prior not in ("normal", "codes"):
        raise UserError(f"codes have a law of their own, not model.prior={config.prior}: {_LEAVE}")
    book = config.codebook
    if not images and book.halvings is not None:
        raise UserError(
            f"model.codebook.halvings is of images, and the items here have the shape {form.shape}: {_LEAVE}"
        )
    halvings = usual_levels(form.shape) if images and book.halvings is None else book.halvings
    return {
        "prior": "codes",
        "latent": None if images else config.latent or usual_places(form.shape),
        "codebook": book.model_copy(update={"halvings": halvings}),
    }


def build(config: VAEConfig, form: Format, classes: int, items: Split | None) -> VAE | VQAutoencoder:
    """The model of a resolved section; a VampPrior begins at the first training items."""
    if config.posterior == "codes":
        return _vq(config, form, classes)
    latent, width = config.latent or 2, config.width or 32
    hidden = config.hidden or (None if form.kind is Kind.IMAGE else (width, width))
    return vae(
        form.shape,
        latent,
        likelihood=_likelihood(config, form),
        posterior=_posterior(config, latent),
        prior=_prior(config, latent, form, classes, items),
        bound=_bound(config),
        hidden=hidden,
        width=width,
        num_classes=classes,
    )


def _vq(config: VAEConfig, form: Format, classes: int) -> VQAutoencoder:
    book, width = config.codebook, config.width or 32
    return vq(
        form.shape,
        book.count,
        book.size,
        likelihood=_likelihood(config, form),
        places=config.latent,
        levels=book.halvings,
        width=width,
        hidden=config.hidden or (width, width),
        decay=book.decay,
        revive=book.revive,
        commitment=book.commitment,
        num_classes=classes,
    )


def describe(config: VAEConfig) -> str:
    """Latents, posterior, prior, likelihood."""
    if config.posterior == "codes":
        return f"latents among {config.codebook.count} codes, a learned law of them, {config.likelihood}"
    bound = f", bound of {config.samples} draws" if config.samples > 1 else ""
    return f"{config.latent} latents, {config.posterior} posterior, {config.prior} prior, {config.likelihood}{bound}"


def levels(form: Format) -> int | None:
    """How many values a pixel of whole numbers can have; None for all other data."""
    coding = form.coding
    if form.kind is not Kind.IMAGE or not isinstance(coding, Pixels) or not is_integer(coding.dtype):
        return None
    count = round(coding.high - coding.low) + 1
    return count if 2 <= count <= _MOST_LEVELS else None


def _likelihood(config: VAEConfig, form: Format) -> Likelihood:
    bins = levels(form) or 2
    match config.likelihood:
        case "bernoulli":
            return Bernoulli()
        case "categorical":
            return Categorical(bins=bins)
        case "discretised-logistic":
            return DiscretisedLikelihood(EachScale(), bins=bins)
        case "gaussian-each":
            return GaussianLikelihood(EachScale())
    return GaussianLikelihood()


def _posterior(config: VAEConfig, latent: int) -> Posterior:
    match config.posterior:
        case "full":
            return FullCovariance(latent)
        case "iaf":
            return iaf_posterior(latent)
    return Diagonal(latent)


def _prior(config: VAEConfig, latent: int, form: Format, classes: int, items: Split | None) -> Prior | VampPrior | None:
    match config.prior:
        case "mixture":
            return mixture_prior(latent, config.components)
        case "flow":
            return flow_prior(latent)
        case "vamp":
            return VampPrior(*_pseudo_items(config.components, form, classes, items))
    return None


def _pseudo_items(count: int, form: Format, classes: int, items: Split | None) -> tuple[Tensor, Tensor | None]:
    if items is None:  # a model that is about to be given its stored weights
        return torch.zeros(count, *form.shape), torch.zeros(count, dtype=torch.int64) if classes else None
    batch = items.batch(torch.arange(count) % len(items))
    return batch.values, batch.labels if classes else None


def _bound(config: VAEConfig) -> Bound:
    if config.samples > 1:
        return Importance(config.samples)
    return Elbo(config.beta, config.warmup, config.free_bits)
