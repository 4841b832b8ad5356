"""Is the uncertainty of a run's restorations right? Measured on simulated items, and on true ones."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from pushforward.config.methods import named_method
from pushforward.config.noise import estimating, noise_law
from pushforward.config.operator_schema import MeasurementConfig, NoiseSection
from pushforward.config.operators import build_likelihood, build_operator, simulated
from pushforward.config.rows import rows_of
from pushforward.config.run import Run
from pushforward.config.spaces import space_of
from pushforward.denoisers import Denoiser
from pushforward.errors import UserError
from pushforward.inverse import Likelihood, LinearOperator
from pushforward.inverse.likelihoods.likelihood import Measurement
from pushforward.inverse.operators.units import Affine
from pushforward.models.generator import Label
from pushforward.numerics.random import Draws
from pushforward.posterior import (
    Agreement,
    Calibration,
    OnItems,
    Posterior,
    Question,
    Stein,
    infer,
    levels_agree,
    on_items,
    prior_draws,
    scaled,
    stein_test,
)
from pushforward.samplers.step import Observer

LEAST = 40
"""Items: half of the true ones fit a scale, half try it out, and ranks are tested from twenty on."""
TRUTHS = 100
"""Evaluations for each item that the model draws: what is compared with must not err itself."""
Progress = Callable[[int, int], None]


def calibrate(
    run: Run,
    config: MeasurementConfig,
    folder: Path,
    *,
    method: str,
    source: str | Path = "test",
    items: int = 100,
    samples: int = 39,
    evaluations: int | None = None,
    label: Label = None,
    guidance: float = 1.0,
    seed: int = 0,
    batch_size: int = 256,
    progress: Progress | None = None,
) -> Calibration:
    """Ranks, coverage and residuals of `items` simulated and as many true items of `source`, measured as `config` says.

    A latent model's own items are measured with what its first stage loses, and compared as they are decoded; true
    items are compared as they are, so that their intervals also tell what the first stage cannot show.

    Of a class (`label`) true items are taken that are of it, where `source` tells their classes. Raises UserError for
    fewer than `LEAST` items or 19 samples, and as `restore` does.
    """
    if items < LEAST or samples < 19:
        raise UserError(
            f"calibration needs at least {LEAST} items with 19 samples each, to tell 90 % from 80 %; got {items} and "
            f"{samples}"
        )
    space, entry = space_of(run, "calibrating restorations"), named_method(method)
    generator = space.generator
    generator.model.eval()
    device = generator.model.device
    labels = None if label is None else generator.label_indices(label, items)
    denoiser = generator.conditioned(labels, guidance, items=items)
    truth = _truth(run, source, items, labels if isinstance(label, int | str) else None).to(device)
    found: list[OnItems] = []
    levels: Agreement | None = None
    began = time.perf_counter()
    keys = Draws.of(seed, range(items), "calibrate", device)
    if entry.prior_draws is not None:
        drawn = entry.prior_draws(denoiser, space.shape, keys, at_once=batch_size)
    else:
        drawn = prior_draws(denoiser, space.shape, keys, TRUTHS, at_once=batch_size)
    for part, (x, whole) in enumerate((space.drawn(drawn, keys.at("lost")), (truth, truth))):
        own = keys.at("measured", part)[: len(x)]
        law = noise_law(config.noise)
        sigma = None if law is None else law.sample(own.at("level"))
        likelihood = measured_in(run, config, folder, whole, own, sigma)
        asked, rows = space.likelihood(likelihood), torch.arange(len(x), device=device)
        answer = infer(
            estimating(space.method(method, entry, likelihood), noise_law(config.noise, asked)),
            Question(denoiser.rows(rows), asked, space.shape, len(x), device=device),
            samples=samples,
            evaluations=evaluations or entry.evaluations,
            seed=seed + part,
            at_once=batch_size,
            observe=_half(progress, part),
        )
        latent = space.lost is not None
        if part == 0 and law is None and not latent:  # what a first stage loses is in y, but in no latent
            levels = _levels(denoiser, asked, x, own, batch_size)
        stein = None if law or latent else _stein(answer, denoiser, own, batch_size)
        shown = answer = answer.resampled()
        if latent:  # of decoded draws; what is lost counts as noise, so a level has no truth to rank
            shown, sigma = Posterior(space.items(answer.samples), answer.evaluations), None
        found.append(on_items(answer, x, sigma, stein, shown=shown))
    scale, held, plain = scaled(shown, x)
    return Calibration(
        method,
        answer.evaluations,
        samples,
        len(truth),
        found[0],
        found[1],
        scale,
        held,
        plain,
        time.perf_counter() - began,
        levels,
    )


def _truth(run: Run, source: str | Path, items: int, labels: Tensor | None) -> Tensor:
    """The first `items` of `source`, of the one class of `labels` where it tells classes: (N, …), N ≥ `LEAST`."""
    rows = rows_of(run, source, items if labels is None else None)
    of = ""
    if labels is not None and rows.labels is not None:
        rows, of = rows.at((rows.labels == labels[0].cpu()).nonzero()[:, 0]), " of that class"
    if len(rows) < LEAST:
        raise UserError(
            f"{source} holds {len(rows)} items{of}; calibration needs at least {LEAST} whose truth is known"
        )
    return rows.x[:items]


def measured_in_units(
    run: Run, config: MeasurementConfig, folder: Path, x: Tensor, keys: Draws, sigma: Tensor | None = None
) -> Likelihood:
    """As `measured_in`: the likelihood in model units."""
    return measured_in(run, config, folder, x, keys, sigma).in_units(run.format)


def measured_in(
    run: Run, config: MeasurementConfig, folder: Path, x: Tensor, keys: Draws, sigma: Tensor | None = None
) -> Measurement:
    """Items x (N, …) in model units, measured in the user's with noise: the likelihood in the user's.

    With `sigma` (N,) the noise has that level, of which the likelihood says nothing. Raises UserError for an operator
    that fails its check.
    """
    operator = build_operator(config, run.format.shape, folder)
    if isinstance(operator, LinearOperator):
        operator.check(run.format.shape, 1e-4)
    values = Affine.of(run.format)(x.double())
    true = config.noise if sigma is None else NoiseSection(sigma=tuple(sigma.tolist()))
    return build_likelihood(config.noise, operator, simulated(true, operator, values, keys))


def _stein(answer: Posterior, denoiser: Denoiser, keys: Draws, at_once: int) -> Stein | None:
    """The test by the model's scores; None where its measurement, or its noise, is none that it is made for."""
    try:
        return stein_test(answer, denoiser, keys.at("stein"), at_once)
    except UserError:
        return None


def _levels(denoiser: Denoiser, likelihood: Likelihood, x: Tensor, keys: Draws, at_once: int) -> Agreement | None:
    """Whether the model's levels agree on its own items; None where no exact moves are made for the measurement."""
    try:
        return levels_agree(denoiser, likelihood, x, keys.at("levels"), at_once=at_once)
    except UserError:
        return None


def _half(progress: Progress | None, part: int) -> Observer | None:
    """What is told of each of the two parts, as one way."""
    if progress is None:
        return None
    return lambda step: progress(part * step.total + step.step, 2 * step.total)
